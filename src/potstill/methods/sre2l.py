"""SRe2L: images recovered from a trained net, by matching what its BatchNorm layers remember of the real ones."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from potstill.core.errors import PotstillError
from potstill.core.fingerprint import fingerprint
from potstill.core.progress import OnStep, Step
from potstill.core.seeds import generator
from potstill.data.real import RealData
from potstill.distilled import Slot
from potstill.methods.method import Made
from potstill.nets.augment import draw_crops
from potstill.nets.layers import Normalise
from potstill.nets.schedule import Cosine
from potstill.nets.store import load_net
from potstill.objectives.batchnorm import batch_norms, mismatch, watched

BETAS = (0.5, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sre2l:
    """Pixels optimised from noise until a teacher names them and its BatchNorm statistics are met.

    Source: SRe2L (Yin et al. 2023, arXiv:2306.13092), squeeze and recover; the defaults are the authors' ImageNet-1K
    script. `teacher` is a folder, shipped name or hub id; images have its size. `statistics` weighs the BatchNorm term
    against cross-entropy, `first` its first layer against the others. Every iteration sees the batch through one
    random crop of at least `least_area` of the area, mirrored in half of the cases where the data allow it, and
    rolled by whole pixels from `roll`, both ends included, down and to the right; a `least_area` of None neither
    crops nor mirrors. A batch holds one image of each of `classes_per_batch` consecutive classes.
    Raises PotstillError for a value out of range.
    """

    kind: Literal["sre2l"] = "sre2l"
    teacher: str
    iterations: int = 4000
    rate: float = 0.25
    statistics: float = 0.01
    first: float = 10.0
    least_area: float | None = 0.08
    roll: tuple[int, int] = (0, 32)
    classes_per_batch: int = 100

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise PotstillError(f"SRe2L needs at least 1 iteration, not {self.iterations}")
        if not 0 < self.rate < math.inf:
            raise PotstillError(f"the rate of SRe2L must be positive, not {self.rate}")
        for name, weight in (("statistics", self.statistics), ("first", self.first)):
            if not 0 <= weight < math.inf:
                raise PotstillError(f"the weight {name!r} of SRe2L must be at least 0, not {weight}")
        if self.least_area is not None and not 0 < self.least_area <= 1:
            raise PotstillError(
                f"the least area of a crop must be in (0, 1] or None for no crop, not {self.least_area}"
            )
        if self.roll[0] > self.roll[1]:
            raise PotstillError(f"the range of rolls must go from low to high, not {list(self.roll)}")
        if self.classes_per_batch < 1:
            raise PotstillError(f"a batch needs at least 1 class, not {self.classes_per_batch}")

    def prepare(self, real: RealData, *, seed: int, images_per_class: int, device: str) -> "Recovery":
        """Loads the teacher, narrowed to the data's classes.

        Raises PotstillError where it lacks one of them or has no BatchNorm layers.
        """
        stored = load_net(self.teacher).narrowed(real.classes).to(device)
        if not batch_norms(stored.module):
            raise PotstillError(
                f"{self.teacher} ({stored.spec.label}) has no BatchNorm layers; SRe2L matches their statistics"
            )
        return Recovery(self, real.classes.keys, real.mirror, stored.module, stored.size, seed, device)


@dataclass(frozen=True)
class Recovery:
    """SRe2L made ready: the images of one index and one chunk of classes come out of one optimisation."""

    settings: Sre2l
    keys: tuple[str, ...]
    mirror: bool
    teacher: nn.Module
    size: int
    seed: int
    device: str

    @property
    def weights(self) -> Mapping[str, str]:
        """The teacher."""
        return {self.settings.teacher: fingerprint([self.teacher])}

    def group(self, missing: Sequence[Slot]) -> list[Slot]:
        """The missing slots that are recovered together with the first of them."""
        together = set(self._unit(missing[0]))
        return [slot for slot in missing if slot in together]

    def make(self, slots: Sequence[Slot], on_step: OnStep) -> list[Made]:
        """Recovers every batch that the slots stand in, whole, and gives the slots' images."""
        images: dict[Slot, Tensor] = {}
        for unit in dict.fromkeys(map(self._unit, slots)):
            images |= zip(unit, self._recover(unit, on_step), strict=True)
        return [Made(images[slot]) for slot in slots]

    def _unit(self, slot: Slot) -> tuple[Slot, ...]:
        """All slots of the batch in which a slot stands."""
        count = self.settings.classes_per_batch
        start = self.keys.index(slot.key) // count * count
        return tuple(Slot(key, slot.index) for key in self.keys[start : start + count])

    def _recover(self, unit: Sequence[Slot], on_step: OnStep) -> Tensor:
        """The optimised images of a batch, uint8 [n, 3, size, size] on the CPU."""
        settings, layers = self.settings, batch_norms(self.teacher)
        labels = torch.tensor([self.keys.index(slot.key) for slot in unit], device=self.device)
        colours = next(layer for layer in self.teacher.modules() if isinstance(layer, Normalise))
        mean, deviation = colours.mean, colours.deviation
        draws = generator(self.seed, "views", unit[0].key, unit[0].index)
        images = self._noise(unit).to(self.device).requires_grad_()
        optimiser = torch.optim.Adam([images], betas=BETAS)
        with watched(layers) as seen:
            for iteration in range(settings.iterations):
                rate = settings.rate * Cosine().factor(iteration, settings.iterations)
                optimiser.param_groups[0]["lr"] = rate
                views = shared_view(images * deviation + mean, settings, self.mirror, draws)
                naming = functional.cross_entropy(self.teacher(views), labels)
                apart = mismatch(layers, seen, settings.first)
                optimiser.zero_grad()
                (naming + settings.statistics * apart).backward()
                optimiser.step()
                with torch.no_grad():
                    images.clamp_(-mean / deviation, (1 - mean) / deviation)
                told = {"cross-entropy": naming.item(), "statistics": apart.item()}
                on_step(Step(stage="recover", index=iteration + 1, total=settings.iterations, scalars=told))
        pixels = (images.detach() * deviation + mean).clamp(0, 1)
        return (pixels * 255).round().to(torch.uint8).cpu()

    def _noise(self, unit: Sequence[Slot]) -> Tensor:
        shape = (3, self.size, self.size)
        draws = (generator(self.seed, "noise", slot.key, slot.index) for slot in unit)
        return torch.stack([torch.randn(shape, generator=draw) for draw in draws])


def shared_view(images: Tensor, settings: Sre2l, mirror: bool, draws: torch.Generator) -> Tensor:
    """The whole batch [n, 3, s, s] through one crop, one flip and one roll, as the source has it."""
    if settings.least_area is not None:
        size = images.shape[-1]
        top, left, height, width = draw_crops(1, size, settings.least_area, draws)[0].tolist()
        cropped = images[:, :, top : top + height, left : left + width]
        images = functional.interpolate(cropped, (size, size), mode="bilinear", align_corners=False)
        if mirror and torch.rand((), generator=draws).item() < 0.5:
            images = images.flip(3)
    low, high = settings.roll
    shifts = torch.randint(low, high + 1, (2,), generator=draws).tolist()
    return images.roll(shifts, (2, 3))
