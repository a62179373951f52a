"""RDED: the crops of real images that a teacher finds most realistic, several of them stitched into one image."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from potstill.core.blocks import in_blocks
from potstill.core.errors import PotstillError
from potstill.core.fingerprint import fingerprint
from potstill.core.progress import OnStep, Step, silent
from potstill.core.seeds import generator
from potstill.data.real import READERS, RealData
from potstill.distilled import Slot
from potstill.methods.method import Made
from potstill.nets.layers import Normalise
from potstill.nets.store import StoredNet, load_net

LEAST_AREA = 0.08
"""The least share of a source image that a crop shows."""

TRIES = 10
"""Boxes drawn until one fits into the image; then the largest central square is taken."""

STITCHED_FROM = 128
"""Side in px from which an image is stitched of 2 x 2 patches: RDED's scripts do so for ImageNet, at 128 and 224 px."""

AT_ONCE = 32
"""Source images cropped and judged at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rded:
    """Patches of real images, the most realistic of each class, `factor` x `factor` of them to an image.

    Source: RDED (arXiv:2312.03526) with the numbers of its scripts. `teacher` is a net (a folder or
    shipped name) that knows the classes; `sources` real images a class are drawn (all where there are fewer), and
    `crops` cut from each. `factor` None is 2 from 128 px on and 1 below; `size`, the side in px, None is the
    teacher's. Raises PotstillError for counts below 1.

    Departs:
    * Draws are seeded; RDED's are not.
    * A crop is rounded to 8 bits before it is judged, so what is kept is what was judged, and kept as PNG; RDED
      judges floats, cuts off decimals, and saves JPEG of quality 75.
    * Fewer images than `sources` serve, where they are enough for the patches; RDED's code fails.
    * A size that is no multiple of the factor is refused; RDED stretches the first cells by a pixel.
    """

    kind: Literal["rded"] = "rded"
    teacher: str
    sources: int = 300
    crops: int = 5
    factor: int | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        for name in ("sources", "crops", "factor", "size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise PotstillError(f"rded: {name} must be at least 1, not {value}")

    def prepare(self, real: RealData, *, seed: int, images_per_class: int, device: str) -> "Patches":
        """Loads the teacher; raises PotstillError where a class offers too few sources or sizes do not fit."""
        stored = load_net(self.teacher).narrowed(real.classes).to(device)
        size = self.size or stored.size
        factor = self.factor or (2 if size >= STITCHED_FROM else 1)
        if size % factor:
            raise PotstillError(
                f"rded: images of {size} px cannot be stitched of {factor} x {factor} patches"
            )
        _require_size(self.teacher, stored, size, device)
        for label, key in enumerate(real.classes.keys):
            held = len(real.train.of_class(label))
            if min(held, self.sources) < images_per_class * factor**2:
                raise PotstillError(
                    f"class {key!r} of {real.name} has {held} training images, of which rded crops "
                    f"{min(held, self.sources)} (sources={self.sources}): fewer than {images_per_class} images "
                    f"x {factor}^2 patches"
                )
        return Patches(self, real, stored.module, size, factor, images_per_class, seed)


@dataclass(frozen=True, slots=True)
class Ranked:
    """A class's patches, most realistic first: uint8 [n, 3, c, c], their sources' ids, the teacher's losses."""

    patches: Tensor
    ids: tuple[str, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Patches:
    """RDED made ready: a class is cropped and judged when its first place is filled, and kept until the next."""

    settings: Rded
    real: RealData
    teacher: nn.Module
    size: int
    factor: int
    count: int
    seed: int
    kept: dict[str, Ranked] = field(default_factory=dict)

    @property
    def weights(self) -> Mapping[str, str]:
        """The teacher, narrowed to the classes."""
        return {self.settings.teacher: fingerprint([self.teacher])}

    def make(self, slots: Sequence[Slot], on_step: OnStep = silent) -> list[Made]:
        """One stitched image a slot, with the real images its patches are from, row by row, and their losses.

        Image k holds the ranks k, count + k, ...: it depends on the count too, and all begin with a good patch.
        """
        made: dict[Slot, Made] = {}
        place = {key: place for place, key in enumerate(dict.fromkeys(slot.key for slot in slots))}
        for slot in sorted(slots, key=lambda slot: place[slot.key]):
            ranked = self._of_class(slot.key, on_step)
            ranks = range(slot.index, self.count * self.factor**2, self.count)
            details = {
                "sources": [ranked.ids[rank] for rank in ranks],
                "losses": [ranked.losses[rank] for rank in ranks],
            }
            made[slot] = Made(stitch(ranked.patches[list(ranks)]), details)
        return [made[slot] for slot in slots]

    def _of_class(self, key: str, on_step: OnStep) -> Ranked:
        if key not in self.kept:
            self.kept.clear()
            self.kept[key] = self._rank(key, on_step)
        return self.kept[key]

    def _rank(self, key: str, on_step: OnStep) -> Ranked:
        split, label = self.real.train, self.real.classes.index(key)
        rows = split.of_class(label)
        drawn = rows[torch.randperm(len(rows), generator=generator(self.seed, "sources", key))]
        drawn = drawn[: self.settings.sources].tolist()
        patches, losses = [], []
        for start in range(0, len(drawn), AT_ONCE):
            part = drawn[start : start + AT_ONCE]
            with ThreadPoolExecutor(READERS) as pool:
                crops = torch.stack(list(pool.map(self._crops, part)))
            judged = realism(self.teacher, crops.flatten(0, 1), label, self.size)
            lowest, which = judged.reshape(len(part), -1).min(1)
            patches.append(crops[torch.arange(len(part)), which])
            losses.append(lowest)
            on_step(Step(stage=f"judge crops of {key}", index=start + len(part), total=len(drawn)))
        order = torch.cat(losses).argsort(stable=True)[: self.count * self.factor**2]
        return Ranked(
            torch.cat(patches)[order],
            tuple(split.ids[drawn[place]] for place in order.tolist()),
            tuple(torch.cat(losses)[order].tolist()),
        )

    def _crops(self, row: int) -> Tensor:
        """Crops of one real image as it was stored, uint8 [crops, 3, c, c]."""
        image, side = self.real.train.read(row), self.size // self.factor
        draw = generator(self.seed, "crops", self.real.train.ids[row])
        cut = []
        for left, top, right, bottom in draw_squares(self.settings.crops, *image.size, draw).tolist():
            crop = image.crop((left, top, right, bottom))
            cut.append(np.asarray(crop.resize((side, side), Image.Resampling.BILINEAR)))
        return torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2)


def draw_squares(count: int, width: int, height: int, draw: torch.Generator) -> Tensor:
    """Square boxes inside an image, int64 [count, 4]: left, top, right, bottom.

    Source: torchvision's RandomResizedCrop of aspect ratio 1: area uniform in [0.08, 1] of the image's, place
    uniform, up to ten tries until the box fits, then the largest central square.
    """
    area, across, down = torch.rand(3, count, TRIES, generator=draw, dtype=torch.float64)
    side = ((LEAST_AREA + (1 - LEAST_AREA) * area) * width * height).sqrt().round()
    short = min(width, height)
    fits = (side >= 1) & (side <= short)
    left, top = (across * (width - side + 1)).floor(), (down * (height - side + 1)).floor()
    boxes = torch.stack((left, top, left + side, top + side), 2)[torch.arange(count), fits.int().argmax(1)]
    left, top = (width - short) // 2, (height - short) // 2
    central = torch.tensor((left, top, left + short, top + short), dtype=torch.float64)
    return torch.where(fits.any(1, keepdim=True), boxes, central).long()


@torch.no_grad()
def realism(teacher: nn.Module, crops: Tensor, label: int, size: int) -> Tensor:
    """The teacher's cross-entropy for the class on each crop, float64 [n] on the CPU; lower is more realistic.

    Crops are uint8 [n, 3, c, c]; each is seen in the middle of `size` px of the teacher's mean colour.
    """
    device = next(teacher.parameters()).device
    logits = in_blocks(lambda part: teacher(framed(teacher, part, size)), crops.to(device)).double()
    return F.cross_entropy(logits, torch.full((len(crops),), label, device=device), reduction="none").cpu()


def framed(teacher: nn.Module, crops: Tensor, size: int) -> Tensor:
    """Crops uint8 [n, 3, c, c] as [n, 3, size, size] in [0, 1], around them what the teacher normalises to 0."""
    if crops.shape[-1] == size:
        return crops.float() / 255
    normalise = next(layer for layer in teacher.modules() if isinstance(layer, Normalise))
    images = normalise.mean.expand(len(crops), 3, size, size).clone()
    side, first = crops.shape[-1], (size - crops.shape[-1]) // 2
    images[:, :, first : first + side, first : first + side] = crops.float() / 255
    return images


def stitch(patches: Tensor) -> Tensor:
    """Patches [f * f, 3, c, c], row by row, as one image [3, f * c, f * c]."""
    count, channels, side, _ = patches.shape
    factor = round(count**0.5)
    grid = patches.reshape(factor, factor, channels, side, side)
    return grid.permute(2, 0, 3, 1, 4).reshape(channels, factor * side, factor * side)


def _require_size(name: str, stored: StoredNet, size: int, device: str) -> None:
    if size == stored.size:
        return
    try:
        with torch.no_grad():
            stored.module(torch.zeros(1, 3, size, size, device=device))
    except RuntimeError:
        raise PotstillError(
            f"rded: the teacher {name!r} is for images of {stored.size} px and cannot judge {size} px"
        ) from None
