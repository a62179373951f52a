"""Generators at the border: every split of the synthesis is the whole, and each part against a slow twin."""

import math
import pickle
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.data.classes import imagenet
from potstill.data.real import Classes
from potstill.nets.store import load_net
from potstill.priors.generator import load_generator
from potstill.priors.style_gan import (
    Discriminator,
    StyleGan,
    StyleSpec,
    build,
    deviation,
    modulated,
    save_style_gan,
)
from potstill.priors.stylegan_xl import StyleGanXl

CLASSES = Classes(("2", "3", "5"), ("two", "three", "five"))
SPEC = StyleSpec(classes=CLASSES, widths=(16, 8, 8), z=8, w=8)


class Fourier(nn.Module):
    """Stands where StyleGAN-XL's input stands: told a code, it gives the first activation."""

    def __init__(self):
        super().__init__()
        self.waves = nn.Parameter(torch.randn(5, 3, generator=generator("waves")))

    def forward(self, w):
        return torch.sin(w @ self.waves)[:, :, None, None].expand(-1, -1, 6, 6)


class Layer(nn.Module):
    def __init__(self, place, after):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, 3, generator=generator("layer", place)))
        self.style = nn.Parameter(torch.randn(5, 3, generator=generator("style", place)))

    def forward(self, x, w):
        assert w.shape == (len(x), 5)
        return torch.einsum("oi,nihw->nohw", self.weight, x * (w @ self.style)[:, :, None, None]).sin() * 3


class Synthesis(nn.Module):
    """The interface of the real one, whose names of layers skip numbers."""

    def __init__(self):
        super().__init__()
        self.input, self.num_ws, self.output_scale = Fourier(), 5, 0.25
        self.layer_names = ["L0_6_3", "L1_6_3", "L4_6_3", "L5_6_3"]
        for place, name in enumerate(self.layer_names):
            setattr(self, name, Layer(place, 3))

    def forward(self, ws):
        x = self.input(ws[:, 0])
        for name, w in zip(self.layer_names, ws.unbind(1)[1:], strict=True):
            x = getattr(self, name)(x, w)
        return x * self.output_scale


class Mapping(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(1000, 5, generator=generator("table")))
        self.dense = nn.Parameter(torch.randn(4, 5, generator=generator("dense")))

    def forward(self, z, c):
        assert c.shape == (len(z), 1000) and c.sum(1).eq(1).all()
        return (z @ self.dense + c @ self.table)[:, None].repeat(1, 5, 1)


class Giant(nn.Module):
    """A tiny network with StyleGAN-XL's attributes."""

    def __init__(self):
        super().__init__()
        self.mapping, self.synthesis = Mapping(), Synthesis()
        self.z_dim, self.c_dim, self.img_resolution = 4, 1000, 6


def ours():
    return StyleGan(build(SPEC, generator("net"))[0])


def theirs():
    return StyleGanXl(Giant(), "here.pkl")


@pytest.fixture(params=[ours, theirs])
def drawer(request):
    return request.param()


@pytest.fixture
def source(monkeypatch):
    """The modules of StyleGAN-XL's source, which the pickle of the stand-in doesn't use."""
    for name in ("dnnlib", "torch_utils"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))


def draws(*numbers):
    return [generator("draw", number) for number in numbers]


def slow_modulated(x, weight, styles):
    """Each image by its own weights, summed tap by tap, in float64."""
    x, weight, styles = x.double(), weight.double(), styles.double()
    _, _, height, width = x.shape
    out = torch.zeros(len(x), len(weight), height, width, dtype=torch.float64)
    for image in range(len(x)):
        for row in range(len(weight)):
            own = weight[row] * styles[image][:, None, None]
            own = own / math.sqrt((own**2).sum().item() + 1e-8)
            for y in range(height):
                for across in range(width):
                    for down in range(3):
                        for right in range(3):
                            a, b = y + down - 1, across + right - 1
                            if 0 <= a < height and 0 <= b < width:
                                out[image, row, y, across] += (own[:, down, right] * x[image, :, a, b]).sum()
    return out


def slow_image(net, z, label):
    """One image of one z and class, written out from the paper in float64."""

    def rectified(x):
        return torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)

    def unit(x):
        return x / torch.sqrt((x**2).mean() + 1e-8)

    told = torch.cat([unit(z.double()), unit(net.embedding.weight[label])])
    for layer in net.mapping:
        told = rectified(layer.weight @ told + layer.bias)
    x = net.constant
    for place, layer in enumerate(net.layers):
        if place % 2:
            x = doubled(doubled(x, 1), 2)
        style = layer.style.weight @ told + layer.style.bias
        x = slow_modulated(x[None], layer.convolution.weight, style[None])[0]
        x = rectified(x + layer.convolution.bias[:, None, None])
    style = net.head.style.weight @ told + net.head.style.bias
    weight = net.head.convolution.weight[:, :, 0, 0] * style
    return torch.einsum("oi,ihw->ohw", weight, x) + net.head.convolution.bias[:, None, None]


def doubled(x, axis):
    """Bilinear doubling: each new pixel three quarters of the nearest old one and one of the next, edges kept."""
    count = x.shape[axis]
    places = torch.arange(2 * count)
    near = places // 2
    next_ = (near + torch.where(places % 2 == 0, -1, 1)).clamp(0, count - 1)
    return 0.75 * x.index_select(axis, near) + 0.25 * x.index_select(axis, next_)


def test_every_split_of_the_synthesis_is_the_whole(drawer):
    rows = [0, 1, 2] * 6
    ws = drawer.codes(rows, draws(*range(18)))
    whole = drawer.images(ws, drawer.features(ws, 0), 0)
    assert whole.shape == (18, 3, drawer.size, drawer.size) and whole.dtype == torch.float32
    assert whole.std() > 0.01
    for layer in range(1, drawer.layers + 1):
        assert torch.equal(drawer.images(ws, drawer.features(ws, layer), layer), whole)


def test_an_image_is_what_the_whole_network_draws():
    drawer = StyleGan(build(StyleSpec(classes=CLASSES, widths=(3, 4, 2), z=5, w=3), generator("net"))[0])
    z = torch.stack([torch.randn(5, generator=draw) for draw in draws(4, 5)])
    ws = drawer.codes([2, 0], draws(4, 5))
    found = drawer.images(ws, drawer.features(ws, 0), 0)
    torch.testing.assert_close(found, drawer.net(z, torch.tensor([2, 0])) / 2 + 0.5, rtol=0, atol=1e-5)
    drawer.net.double()
    twin = torch.stack([slow_image(drawer.net, one, label) for one, label in zip(z, (2, 0), strict=True)])
    torch.testing.assert_close(found.double(), twin / 2 + 0.5, rtol=0, atol=1e-5)


def test_an_image_of_stylegan_xl_is_what_the_network_draws():
    drawer, z = theirs(), torch.stack([torch.randn(4, generator=draw) for draw in draws(4, 5)])
    ws = drawer.codes([7, 900], draws(4, 5))
    c = nn.functional.one_hot(torch.tensor([7, 900]), 1000).float()
    theirs_ws = drawer.net.mapping(z, c)
    torch.testing.assert_close(ws, theirs_ws, rtol=0, atol=1e-6)
    found = drawer.images(ws, drawer.features(ws, 2), 2)
    torch.testing.assert_close(found, (drawer.net.synthesis(theirs_ws) + 1) / 2, rtol=0, atol=1e-5)


def test_modulation_equals_convolving_each_image_by_its_own_weights(draw):
    x, weight, styles = (torch.randn(shape, generator=draw) for shape in ((3, 4, 5, 6), (2, 4, 3, 3), (3, 4)))
    found = modulated(x.double(), weight.double(), styles.double())
    torch.testing.assert_close(found, slow_modulated(x, weight, styles), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        modulated(x, weight, styles).double(), slow_modulated(x, weight, styles), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("layer", [2, 4])
def test_the_path_from_f_to_the_image_has_the_gradient_of_finite_differences(layer, draw):
    drawer = StyleGan(build(StyleSpec(classes=CLASSES, widths=(2, 2, 2), z=3, w=3), draw)[0].double())
    ws = drawer.codes([1], draws(0))
    f = drawer.features(ws, layer)
    assert f.dtype == torch.float64
    inputs = (ws[:, layer:].clone().requires_grad_(), f.clone().requires_grad_())
    mix = torch.randn(3 * drawer.size**2, generator=draw, dtype=torch.float64)

    def seen(late, f):
        return drawer.images(torch.cat([ws[:, :layer], late], 1), f, layer).flatten() @ mix

    assert torch.autograd.gradcheck(seen, inputs)


@pytest.mark.parametrize("layer", [0, 1, 3])
def test_codes_that_no_later_layer_is_told_have_no_gradient(drawer, layer, draw):
    ws = drawer.codes([0, 1], draws(0, 1)).requires_grad_()
    f = drawer.features(ws, layer).detach()
    images = drawer.images(ws, f, layer)
    (slope,) = torch.autograd.grad((images * torch.randn(images.shape, generator=draw)).sum(), ws)
    silent = layer + isinstance(drawer, StyleGanXl)
    assert (slope[:, :silent] == 0).all()
    assert (slope[:, silent:].abs().amax((0, 2)) > 0).all()


def test_codes_and_images_depend_on_their_own_generator_alone(drawer):
    rows = [2, 0, 1] * 7
    many = drawer.codes(rows, draws(*range(21)))
    images = drawer.images(many, drawer.features(many, 2), 2)
    for place in (0, 8, 20):
        one = drawer.codes([rows[place]], draws(place))
        assert torch.equal(one[0], many[place])
        assert torch.equal(drawer.images(one, drawer.features(one, 2), 2)[0], images[place])
    assert not torch.equal(drawer.codes([2], draws(1))[0], many[0])
    assert not torch.equal(drawer.codes([1], draws(0))[0], many[0]), "the class is not told"


@pytest.mark.parametrize("layer", [-1, 6])
def test_a_layer_out_of_range_is_named(drawer, layer):
    ws = drawer.codes([0], draws(0))
    for run in (lambda: drawer.features(ws, layer), lambda: drawer.images(ws, ws, layer)):
        with pytest.raises(PotstillError, match=rf"must be in \[0, {drawer.layers}\], not {layer}"):
            run()


def test_a_saved_generator_is_read_again(tmp_path):
    net = build(SPEC, generator("net"))[0]
    save_style_gan(tmp_path, net)
    drawer = load_generator(str(tmp_path))
    ws = drawer.codes([1], draws(0))
    assert torch.equal(ws, StyleGan(net).codes([1], draws(0)))
    assert (drawer.size, drawer.layers, ws.shape) == (16, 5, (1, 6, 8))
    assert not any(parameter.requires_grad for parameter in drawer.module.parameters())
    assert [drawer.class_row(*pair) for pair in (("5", "?"), ("?", "three"))] == [2, 1]
    with pytest.raises(PotstillError, match="unknown class of the generator '7'.*Allowed: 2, 3, 5"):
        drawer.class_row("7", "seven")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(PotstillError, match=r"model.safetensors does not hold"):
        load_generator(str(tmp_path))


def test_what_is_no_generator_is_named(tmp_path):
    with pytest.raises(PotstillError, match="digits/teacher/config.json"):
        load_generator("digits/teacher")
    with pytest.raises(PotstillError, match="unknown model 'digits/nobody'"):
        load_generator("digits/nobody")
    with pytest.raises(PotstillError, match="no such file: owner/name/config.json"):
        load_generator("owner/name")
    save_style_gan(tmp_path, build(SPEC, generator("net"))[0])
    with pytest.raises(PotstillError, match=f"{tmp_path}/config.json is that of no trained net"):
        load_net(tmp_path)


def test_the_usual_sizes_are_small():
    spec = StyleSpec(classes=Classes(tuple("0123456789"), tuple("0123456789")))
    net, judge = build(spec, generator("net"))
    assert spec.size == 32 and len(net.layers) == 7
    assert sum(value.numel() for value in net.parameters()) <= 800_000
    images = net(torch.randn(4, 64, generator=generator("z")), torch.arange(4))
    assert images.shape == (4, 3, 32, 32) and 0.05 < images.std() < 5
    assert judge(images, torch.arange(4)).shape == (4,)


def test_the_discriminator_is_told_the_class_by_projection(draw):
    judge = build(SPEC, draw)[1]
    images = torch.randn(4, 3, 16, 16, generator=draw)
    seen = []
    judge.score.register_forward_hook(lambda _, inputs, out: seen.append(inputs[0]))
    scores = [judge(images, torch.full((4,), row)) for row in (0, 2)]
    apart = judge.embedding.weight[2] - judge.embedding.weight[0]
    torch.testing.assert_close(scores[1] - scores[0], seen[0] @ apart / math.sqrt(16), rtol=0, atol=1e-5)
    assert isinstance(judge, Discriminator)


def test_the_deviation_is_that_within_each_group(draw):
    """Against numpy, group by group; equal images have none."""
    x = torch.randn(8, 3, 2, 2, generator=draw)
    x[4:] = x[4]
    groups = x.double().numpy().reshape(2, 4, 3, 2, 2)
    wanted = np.sqrt(groups.var(1) + 1e-8).mean((1, 2, 3)).repeat(4)
    np.testing.assert_allclose(deviation(x).flatten().numpy(), wanted, rtol=1e-5)
    assert wanted[4] < 1.1e-4


def pickled(tmp_path, held):
    file = tmp_path / "imagenet6.pkl"
    file.write_bytes(pickle.dumps(held))
    return file


def test_a_pickle_is_refused_unless_trusted_and_not_even_read(tmp_path):
    marker = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    file = pickled(tmp_path, {"G_ema": Trap()})
    with pytest.raises(PotstillError, match="runs whatever code.*--trust-pickle.*dnnlib and torch_utils"):
        load_generator(str(file))
    assert not marker.exists()


def test_a_trusted_pickle_needs_the_sources_modules(tmp_path):
    file = pickled(tmp_path, {})
    with pytest.raises(PotstillError, match="imagenet6.pkl needs module 'dnnlib'"):
        load_generator(str(file), trust_pickle=True)


def test_a_trusted_pickle_is_a_generator_of_imagenet(tmp_path, source):
    drawer = load_generator(str(pickled(tmp_path, {"G": None, "G_ema": Giant()})), trust_pickle=True)
    ws = drawer.codes([3], draws(0))
    assert torch.equal(ws, theirs().codes([3], draws(0)))
    assert (drawer.size, drawer.layers, ws.shape) == (6, 4, (1, 5, 5))
    assert not any(parameter.requires_grad for parameter in drawer.module.parameters())
    assert drawer.class_row(imagenet().keys[217], "?") == 217
    with pytest.raises(PotstillError, match="unknown class of StyleGAN-XL 'tench'"):
        drawer.class_row("tench", "tench")


def test_a_pickle_of_something_else_is_named(tmp_path, source):
    few, short, bare = Giant(), Giant(), Giant()
    few.c_dim = 10
    short.synthesis.num_ws = 4
    del bare.synthesis.output_scale
    for held, message in (
        ({"G": Giant()}, "holds no network 'G_ema'"),
        ({"G_ema": few}, "knows 10 classes. Allowed: ImageNet's 1000"),
        ({"G_ema": short}, "4 codes for 4 layers"),
        ({"G_ema": bare}, "lacks output_scale"),
        ({"G_ema": nn.Linear(2, 2)}, "lacks mapping, synthesis, z_dim, c_dim, img_resolution"),
    ):
        with pytest.raises(PotstillError, match=f"imagenet6.pkl.* {message}"):
            load_generator(str(pickled(tmp_path, held)), trust_pickle=True)
    (tmp_path / "imagenet6.pkl").write_bytes(b"no pickle")
    with pytest.raises(PotstillError, match="cannot open .*imagenet6.pkl"):
        load_generator(str(tmp_path / "imagenet6.pkl"), trust_pickle=True)
