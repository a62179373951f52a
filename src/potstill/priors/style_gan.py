"""A small style-modulated generator, and the discriminator that it is trained against."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from potstill.core.errors import PotstillError, unknown
from potstill.core.files import read_json, write_json, write_whole
from potstill.core.settings import from_plain, to_plain
from potstill.data.real import Classes
from potstill.nets.store import CONFIG, WEIGHTS
from potstill.priors.generator import Generator

EPSILON, SLOPE, FIRST, GROUP = 1e-8, 0.2, 4, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleSpec:
    """The sizes of a generator: channels at 4, 8, 16 ... px, and how long z and w are.

    In multiples of 8 an image has the same bits at every place of a batch; in odd sizes a CPU may round otherwise.
    """

    classes: Classes
    widths: tuple[int, ...] = (64, 64, 32, 16)
    z: int = 64
    w: int = 64

    @property
    def size(self) -> int:
        """The height and width of an image, in pixels."""
        return FIRST * 2 ** (len(self.widths) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleConfig:
    """The contents of config.json."""

    generator: StyleSpec


class StyleNet(nn.Module):
    """Mapping of (z, class) to w, and synthesis from a learned 4 x 4 constant.

    Source: Karras et al. 2020 (arXiv:1912.04958), section 2: modulated and demodulated convolutions, bias and leaky
    ReLU after them, bilinear doubling before the first of two layers at each resolution but 4 px. Departs: no noise
    inputs, so that an image is a function of its codes; two mapping layers, as in StyleGAN-XL; weights start at their
    scale instead of being scaled at run time; one RGB head at the end instead of one a resolution (the paper's
    section 4), so that one activation carries all that the layers after it need.
    """

    def __init__(self, spec: StyleSpec) -> None:
        super().__init__()
        self.spec = spec
        self.embedding = nn.Embedding(len(spec.classes), spec.w)
        self.mapping = nn.ModuleList([nn.Linear(spec.z + spec.w, spec.w), nn.Linear(spec.w, spec.w)])
        self.constant = nn.Parameter(torch.empty(spec.widths[0], FIRST, FIRST))
        layers = [StyleLayer(spec.w, spec.widths[0], spec.widths[0], doubles=False)]
        for before, after in zip(spec.widths, spec.widths[1:], strict=False):
            layers += [
                StyleLayer(spec.w, before, after, doubles=True),
                StyleLayer(spec.w, after, after, doubles=False),
            ]
        self.layers = nn.ModuleList(layers)
        self.head = StyleHead(spec.w, spec.widths[-1])

    def initialise(self, generator: torch.Generator) -> None:
        """Draws all start values from `generator`; a style begins around 1."""
        _start(self, generator)
        nn.init.normal_(self.constant, generator=generator)
        for part in (*self.layers, self.head):
            style: Any = part.style
            nn.init.ones_(style.bias)

    def code(self, z: Tensor, rows: Tensor) -> Tensor:
        """One w [n, w] of noise [n, z] and classes int64 [n], both scaled to unit mean square."""
        x = torch.cat([_unit(z), _unit(self.embedding(rows))], 1)
        for layer in self.mapping:
            x = _rectified(layer(x))
        return x

    def forward(self, z: Tensor, rows: Tensor) -> Tensor:
        """Images [n, 3, size, size] around [-1, 1]."""
        w = self.code(z, rows)
        x = self.constant.expand(len(w), -1, -1, -1)
        for layer in self.layers:
            x = layer(x, w)
        return self.head(x, w)


class StyleLayer(nn.Module):
    """A modulated 3 x 3 convolution, bias and leaky ReLU, on twice the height and width where it `doubles`."""

    def __init__(self, w: int, before: int, after: int, *, doubles: bool) -> None:
        super().__init__()
        self.doubles = doubles
        self.style = nn.Linear(w, before)
        self.convolution: Any = nn.Conv2d(before, after, 3)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """[n, before, s, s] and codes [n, w] to [n, after, s or 2 s, s or 2 s]."""
        if self.doubles:
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = modulated(x, self.convolution.weight, self.style(w))
        return _rectified(x + _each(self.convolution.bias))


class StyleHead(nn.Module):
    """A modulated 1 x 1 convolution to RGB, not demodulated."""

    def __init__(self, w: int, before: int) -> None:
        super().__init__()
        self.style = nn.Linear(w, before)
        self.convolution = nn.Conv2d(before, 3, 1)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """[n, before, s, s] and codes [n, w] to [n, 3, s, s]."""
        return self.convolution(x * _each(self.style(w)))


class Discriminator(nn.Module):
    """Images [n, 3, size, size] around [-1, 1] and classes int64 [n] to scores [n], high for real.

    Source: the residual discriminator of Karras et al. 2020, section 4; the class acts by projection, Miyato and
    Koyama 2018 (arXiv:1802.05637), equation 4; the deviation over a group of images, Karras et al. 2018
    (arXiv:1710.10196), section 3, keeps a class from becoming one image. Images come in groups of `GROUP` of one class.
    Departs: average pooling.
    """

    def __init__(self, spec: StyleSpec) -> None:
        super().__init__()
        widths, last = spec.widths[::-1], spec.widths[0]
        self.first = nn.Conv2d(3, widths[0], 1)
        pairs = zip(widths, widths[1:], strict=False)
        self.blocks = nn.ModuleList([Halving(before, after) for before, after in pairs])
        self.last = nn.Conv2d(last + 1, last, 3, padding=1)
        self.dense = nn.Linear(last * FIRST**2, last)
        self.score = nn.Linear(last, 1)
        self.embedding = nn.Embedding(len(spec.classes), last)

    def initialise(self, generator: torch.Generator) -> None:
        """Draws all start values from `generator`."""
        _start(self, generator)

    def forward(self, images: Tensor, rows: Tensor) -> Tensor:
        """The scores."""
        x = _rectified(self.first(images))
        for block in self.blocks:
            x = block(x)
        x = torch.cat([x, deviation(x).expand(-1, -1, *x.shape[2:])], 1)
        x = _rectified(self.dense(_rectified(self.last(x)).flatten(1)))
        told = (self.embedding(rows) * x).sum(1) / math.sqrt(x.shape[1])
        return self.score(x)[:, 0] + told


def deviation(x: Tensor) -> Tensor:
    """How much images [n, c, h, w] differ within each group of `GROUP`: one number for all of a group, [n, 1, 1, 1]."""
    groups = x.unflatten(0, (-1, GROUP))
    return (
        (groups.var(1, correction=0) + EPSILON)
        .sqrt()
        .mean((1, 2, 3))
        .repeat_interleave(GROUP)[:, None, None, None]
    )


class Halving(nn.Module):
    """Two convolutions beside a short cut, to half the height and width."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(before, before, 3, padding=1)
        self.outer = nn.Conv2d(before, after, 3, padding=1)
        self.past = nn.Conv2d(before, after, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[n, before, s, s] to [n, after, s / 2, s / 2]."""
        changed = _rectified(self.outer(functional.avg_pool2d(_rectified(self.inner(x)), 2)))
        return (changed + self.past(functional.avg_pool2d(x, 2))) / math.sqrt(2)


class StyleGan(Generator):
    """A `StyleNet` at the border: layer i is told code i, the RGB head the last; f at layer 0 is the constant."""

    def __init__(self, net: StyleNet) -> None:
        super().__init__(net, size=net.spec.size, layers=len(net.layers), z_dim=net.spec.z)
        self.net: Any = net

    def class_row(self, key: str, name: str) -> int:
        """A class's row by key, else by name."""
        classes = self.net.spec.classes
        for known, asked in ((classes.keys, key), (classes.names, name)):
            if asked in known:
                return known.index(asked)
        raise unknown("class of the generator", key, classes.keys)

    def code(self, z: Tensor, rows: Tensor) -> Tensor:
        """The same w for every layer and the head."""
        return self.net.code(z, rows)[:, None].repeat(1, self.layers + 1, 1)

    def start(self, ws: Tensor) -> Tensor:
        """The learned constant."""
        return self.net.constant.expand(len(ws), -1, -1, -1)

    def step(self, x: Tensor, ws: Tensor, place: int) -> Tensor:
        """One layer, told its own code."""
        return self.net.layers[place](x, ws[:, place])

    def finish(self, x: Tensor, ws: Tensor) -> Tensor:
        """The RGB head, from [-1, 1] to [0, 1]."""
        return self.net.head(x, ws[:, self.layers]) / 2 + 0.5


def modulated(x: Tensor, weight: Tensor, styles: Tensor) -> Tensor:
    """A same-size convolution of x [n, i, h, w] whose weights [j, i, k, k] each image scales by styles [n, i].

    Source: Karras et al. 2020, equations 1 and 3, w'_ijk = s_i w_ijk and w''_ijk = w'_ijk / sqrt(sum_ik w'_ijk^2 +
    epsilon), by scaling inputs and outputs instead of weights, which is the same for one convolution of all images.
    """
    wide = functional.conv2d(x * _each(styles), weight, padding=weight.shape[-1] // 2)
    energy = styles.square() @ weight.square().sum((2, 3)).T
    return wide * _each((energy + EPSILON).rsqrt())


def build(spec: StyleSpec, generator: torch.Generator) -> tuple[StyleNet, Discriminator]:
    """A generator and its discriminator with start values from `generator` alone."""
    with torch.device("meta"):
        net, judge = StyleNet(spec), Discriminator(spec)
    net, judge = net.to_empty(device="cpu"), judge.to_empty(device="cpu")
    net.initialise(generator)
    judge.initialise(generator)
    return net, judge


def save_style_gan(folder: Path, net: StyleNet) -> None:
    """Writes a generator into a folder, the values first, so that one with a config.json is whole."""
    values = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    write_whole(folder / WEIGHTS, lambda path: save_file(values, path))
    write_json(folder / CONFIG, to_plain(StyleConfig(generator=net.spec)))


def read_style_gan(folder: Path, device: str) -> StyleGan:
    """Reads a generator that `save_style_gan` wrote; raises PotstillError that names the file that is wrong."""
    file = folder / CONFIG
    spec = from_plain(StyleConfig, read_json(file), str(file)).generator
    with torch.device("meta"):
        net = StyleNet(spec)
    net, values = net.to_empty(device="cpu"), folder / WEIGHTS
    try:
        net.load_state_dict(load_file(values))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise PotstillError(f"{values} does not hold the values of this generator: {error}") from error
    return StyleGan(net.to(device))


def _start(module: nn.Module, generator: torch.Generator) -> None:
    """Normal weights of deviation 1/sqrt(fan in), embeddings of deviation 1, biases of 0."""
    for part in module.modules():
        if isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, generator=generator)
        elif isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(part.weight, 0.0, part.weight[0].numel() ** -0.5, generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def _rectified(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2, times sqrt(2) to keep the scale."""
    return functional.leaky_relu(x, SLOPE) * math.sqrt(2)


def _unit(x: Tensor) -> Tensor:
    return x * (x.square().mean(1, keepdim=True) + EPSILON).rsqrt()


def _each(values: Tensor) -> Tensor:
    return values[..., None, None]
