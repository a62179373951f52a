"""The codes of a generator as a canvas: how they start, what of them is learned, and what an image depends on."""

import math
import pickle

import pytest
import torch

from potstill.canvas.gan_code import GanCode, cleaned
from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.data.digits import digits
from potstill.data.real import Classes
from potstill.distilled import Slot
from potstill.priors.generator import load_generator
from potstill.priors.style_gan import StyleSpec, build, save_style_gan

KEYS = ("5", "2", "7")
SLOTS = [Slot(key, index) for key in KEYS for index in range(2)]


@pytest.fixture(scope="module")
def real():
    return digits().select(KEYS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("gan")
    spec = StyleSpec(classes=Classes(("2", "5", "7"), ("two", "five", "seven")), widths=(16, 8, 8), z=8, w=8)
    save_style_gan(place, build(spec, generator("net"))[0])
    return str(place)


def ready(canvas, real, slots=SLOTS, seed=0):
    return canvas.prepare(real, slots, seed=seed, device="cpu")


def slopes(surface, rows=slice(None)):
    images = surface.images(rows)
    weights = torch.randn(images.shape, generator=generator("weights"))
    leaves = [one.value for one in surface.learned.values()]
    return dict(zip(surface.learned, torch.autograd.grad((images * weights).sum(), leaves), strict=True))


@pytest.mark.parametrize("layer", [0, 1, 3, 5])
def test_the_start_is_the_generators_own_image_of_the_slot(real, folder, layer):
    surface = ready(GanCode(generator=folder, layer=layer), real)
    drawer = load_generator(folder)
    ws = drawer.codes([1, 1, 0, 0, 2, 2], [generator(0, "code", slot.key, slot.index) for slot in SLOTS])
    expected = drawer.images(ws, drawer.features(ws, 0), 0)
    assert torch.equal(surface.kept(slice(None)), expected)
    assert torch.equal(surface.images(slice(None)), expected)
    assert (surface.size, surface.copies, len(expected)) == (16, 1, 6)
    assert not surface.kept(slice(None)).requires_grad


@pytest.mark.parametrize("layer", [0, 1, 3, 5])
def test_what_is_learned_has_its_rate_and_a_gradient_where_it_acts(real, folder, layer):
    surface = ready(GanCode(generator=folder, layer=layer, rate_w=0.5, rate_f=3.0), real)
    rates = {name: one.rate for name, one in surface.learned.items()}
    assert rates == ({"w": 0.5, "f": 3.0} if layer else {"w": 0.5})
    assert all(one.value.is_leaf and one.value.requires_grad for one in surface.learned.values())
    found = slopes(surface)
    assert found["w"].shape == (6, 6, 8)
    assert (found["w"][:, :layer] == 0).all()
    assert (found["w"][:, layer:].abs().amax((0, 2)) > 0).all()
    if layer:
        assert (found["f"].abs().flatten(1).amax(1) > 0).all()


@pytest.mark.parametrize("layer", [0, 2])
def test_a_slot_depends_on_nothing_but_itself(real, folder, layer):
    canvas = GanCode(generator=folder, layer=layer)
    surface, alone = ready(canvas, real), ready(canvas, real, SLOTS[3:4])
    for name, one in alone.learned.items():
        assert torch.equal(one.value[0], surface.learned[name].value[3])
    whole = surface.images(slice(None))
    assert torch.equal(alone.images(slice(None))[0], whole[3])
    assert torch.equal(surface.images(slice(3, 5)), whole[3:5])
    only = slopes(surface, slice(3, 5))
    assert all((slope[:3] == 0).all() and (slope[5:] == 0).all() for slope in only.values())
    assert not torch.equal(whole[2], whole[3])
    assert not torch.equal(ready(canvas, real, seed=1).kept(slice(0, 1))[0], whole[0])


def test_learning_moves_the_images_and_kept_ones_are_not_clamped(real, folder):
    surface = ready(GanCode(generator=folder, layer=2), real)
    wanted = 3 * surface.kept(slice(None))
    optimiser = torch.optim.SGD(
        [{"params": [one.value], "lr": one.rate / 1000} for one in surface.learned.values()]
    )
    before = (surface.kept(slice(None)) - wanted).square().mean()
    for _ in range(20):
        optimiser.zero_grad()
        (surface.images(slice(None)) - wanted).square().sum().backward()
        optimiser.step()
    kept = surface.kept(slice(None))
    assert (kept - wanted).square().mean() < 0.9 * before
    assert torch.equal(kept, surface.images(slice(None)).detach())
    assert kept.min() < 0 and kept.max() > 1


def test_an_activation_starts_finite_and_within_ten():
    values = [math.nan, math.inf, -math.inf, 12.0, -10.5, 9.5, -3.0]
    assert cleaned(torch.tensor(values)).tolist() == [0.0, 5.0, -5.0, 10.0, -10.0, 9.5, -3.0]


def test_the_start_is_cleaned_where_a_layer_overflows(real, folder, tmp_path):
    net = load_generator(folder).module
    with torch.no_grad():
        net.layers[1].convolution.bias[0] = math.inf
        net.layers[1].convolution.bias[1] = 100.0
    save_style_gan(tmp_path, net)
    f = ready(GanCode(generator=str(tmp_path), layer=2), real).learned["f"].value
    assert (f[:, 0] == 5).all() and (f[:, 1] == 10).all() and (f[:, 2:].abs() < 10).all()


def test_the_published_rates_are_the_defaults():
    """GLaD's for distribution matching."""
    canvas = GanCode(generator="digits/gan")
    assert (canvas.rate_w, canvas.rate_f) == (0.01, 10.0)


def test_weights_name_the_generator(real, folder):
    weights = ready(GanCode(generator=folder), real).weights
    assert list(weights) == [folder] and len(weights[folder]) == 64


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"layer": -1}, "layer of a GAN's canvas must be at least 0, not -1"),
        ({"rate_w": 0.0}, "rate_w of a GAN's canvas must be positive, not 0.0"),
        ({"rate_f": math.inf}, "rate_f of a GAN's canvas must be positive, not inf"),
        ({"rate_f": math.nan}, "rate_f of a GAN's canvas must be positive, not nan"),
    ],
)
def test_settings_out_of_range_are_named(setting, message):
    with pytest.raises(PotstillError, match=message):
        GanCode(generator="digits/gan", **setting)


def test_what_does_not_fit_is_named(real, folder, tmp_path):
    with pytest.raises(PotstillError, match=r"layer must be in \[0, 5\], not 6"):
        ready(GanCode(generator=folder, layer=6), real)
    with pytest.raises(PotstillError, match="unknown class of the generator '4'"):
        ready(GanCode(generator=folder), digits().select("4"), [Slot("4", 0)])
    (tmp_path / "net.pkl").write_bytes(pickle.dumps({}))
    with pytest.raises(PotstillError, match="net.pkl is a pickle.*--trust-pickle"):
        ready(GanCode(generator=str(tmp_path / "net.pkl")), real)
