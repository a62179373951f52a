"""Images as the codes of a frozen generator, and an activation between two of its layers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from potstill.canvas.canvas import Learned
from potstill.core.errors import PotstillError
from potstill.core.fingerprint import fingerprint
from potstill.core.seeds import generator
from potstill.data.real import RealData
from potstill.distilled import Slot
from potstill.priors.generator import Generator, load_generator

MOST, INFINITE = 10.0, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GanCode:
    """Codes w of a generator and, where `layer` is above 0, the activation f that its first `layer` layers leave.

    Source: GLaD (Cazenavette et al. 2023, arXiv:2305.01649), section 3, with its code's start and its rates for
    distribution matching; for gradient matching it has 0.001 and 1, for trajectory matching 10 and 10,000.
    `generator` is one of ours by shipped name or folder, or a .pkl file of StyleGAN-XL, which `trust_pickle` lets run
    its code. `layer` counts from 0, w alone, which every generator has; GLaD has 12 unless told otherwise, 16 for
    gradient and 20 for distribution matching, of the 26 layers of StyleGAN-XL at 128 px, and 2 for CIFAR-10.
    `rate_w` and `rate_f` are the learning rates. Departs: f is float32 on every device, in GLaD as its layer.
    Raises PotstillError for a value out of range.
    """

    kind: Literal["gan-code"] = "gan-code"
    generator: str
    layer: int = 0
    rate_w: float = 0.01
    rate_f: float = 10.0
    trust_pickle: bool = False

    def __post_init__(self) -> None:
        if self.layer < 0:
            raise PotstillError(f"the layer of a GAN's canvas must be at least 0, not {self.layer}")
        for name, rate in (("rate_w", self.rate_w), ("rate_f", self.rate_f)):
            if not 0 < rate < math.inf:
                raise PotstillError(f"{name} of a GAN's canvas must be positive, not {rate}")

    def prepare(self, real: RealData, slots: Sequence[Slot], *, seed: int, device: str) -> "GanSurface":
        """Loads the generator and draws z of every slot.

        Raises PotstillError for a class or a layer that the generator does not have.
        """
        drawer = load_generator(self.generator, device, trust_pickle=self.trust_pickle)
        names = dict(zip(real.classes.keys, real.classes.names, strict=True))
        rows = [drawer.class_row(slot.key, names[slot.key]) for slot in slots]
        ws = drawer.codes(rows, [generator(seed, "code", slot.key, slot.index) for slot in slots])
        with torch.no_grad():
            f = cleaned(drawer.features(ws, self.layer))
        leaves = {"w": Learned(ws.clone().requires_grad_(), self.rate_w)}
        if self.layer > 0:
            leaves["f"] = Learned(f.clone().requires_grad_(), self.rate_f)
        return GanSurface(self, drawer, leaves)


@dataclass(frozen=True, eq=False)
class GanSurface:
    """The codes and activations of slots; codes that only the layers before f are told keep a gradient of 0."""

    settings: GanCode
    generator: Generator
    learned: Mapping[str, Learned]
    copies: int = 1

    @property
    def size(self) -> int:
        """The generator's."""
        return self.generator.size

    @property
    def weights(self) -> Mapping[str, str]:
        """The generator."""
        return {self.settings.generator: fingerprint([self.generator.module])}

    def images(self, rows: slice) -> Tensor:
        """The generator's images of codes and activations, not clamped, as in GLaD."""
        ws, layer = self.learned["w"].value[rows], self.settings.layer
        f = self.learned["f"].value[rows] if layer > 0 else self.generator.features(ws, 0)
        return self.generator.images(ws, f, layer)

    def kept(self, rows: slice) -> Tensor:
        """The same images."""
        with torch.no_grad():
            return self.images(rows)


def cleaned(f: Tensor) -> Tensor:
    """An activation as it may start: NaN as 0, infinities as plus or minus 5, the rest within 10 of 0.

    Source: GLaD's code, where float16 may overflow.
    """
    return f.nan_to_num(nan=0.0, posinf=INFINITE, neginf=-INFINITE).clamp(-MOST, MOST)
