"""Random changes of a whole batch at once, each image with its own draws from a generator."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from potstill.core.errors import PotstillError

Augment = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
"""Images [n, 3, s, s] in [0, 1] and class shares [n, classes] to the same, changed."""

TRIES = 10
RATIO = (3 / 4, 4 / 3)


def unchanged(images: Tensor, shares: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """No augmentation; draws nothing."""
    return images, shares


def in_turn(changes: Sequence[Augment]) -> Augment:
    """One augmentation that does the changes given from first to last."""

    def augment(images: Tensor, shares: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        for change in changes:
            images, shares = change(images, shares, generator)
        return images, shares

    return augment


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchShuffle:
    """Cuts a side into `strips` and permutes them, see `patch_shuffle`; raises PotstillError below 1 strip."""

    strips: int = 2

    def __post_init__(self) -> None:
        if self.strips < 1:
            raise PotstillError(f"a patch shuffle needs at least 1 strip a side, not {self.strips}")

    def __call__(self, images: Tensor, shares: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images with their strips permuted."""
        return patch_shuffle(images, self.strips, generator), shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """Crops a random box that keeps at least `least_area` of the area and resizes it to the whole, see `draw_crops`.

    Raises PotstillError for a share outside of (0, 1].
    """

    least_area: float

    def __post_init__(self) -> None:
        if not 0 < self.least_area <= 1:
            raise PotstillError(f"the least area of a crop must be in (0, 1], not {self.least_area}")

    def __call__(self, images: Tensor, shares: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images cropped, each by its own box."""
        count, size = len(images), images.shape[-1]
        return crop_resize(images, draw_crops(count, size, self.least_area, generator), size), shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """Moves an image by up to `most` px along both axes; what is empty is black.

    Source: the crop from a frame of 4 px that small images are usually trained with. Raises PotstillError below 1.
    """

    most: int = 4

    def __post_init__(self) -> None:
        if self.most < 1:
            raise PotstillError(f"the most that an image shifts must be at least 1 px, not {self.most}")

    def __call__(self, images: Tensor, shares: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images, each moved its own way."""
        moved = functional.pad(images, (self.most,) * 4)
        for axis in (2, 3):
            first = torch.randint(2 * self.most + 1, (len(images), 1), generator=generator)
            places = (first + torch.arange(images.shape[axis])).to(images.device)
            moved = moved.take_along_dim(_along(places, axis), axis)
        return moved, shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """Mirrors left to right with a probability; raises PotstillError where it is none."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise PotstillError(f"the probability of a flip must be in [0, 1], not {self.probability}")

    def __call__(self, images: Tensor, shares: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images, some mirrored."""
        return flip(images, self.probability, generator), shares


@dataclass(frozen=True, slots=True, kw_only=True)
class CutMix:
    """Pastes a box of another image into each, and mixes the class shares, see `cutmix`.

    `probability` is that of a batch being mixed at all; at 1 nothing is drawn to decide it.
    """

    probability: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise PotstillError(f"the probability of CutMix must be in [0, 1], not {self.probability}")

    def __call__(self, images: Tensor, shares: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images and shares, mixed."""
        if self.probability < 1 and torch.rand((), generator=generator).item() >= self.probability:
            return images, shares
        return cutmix(images, shares, generator)


def patch_shuffle(images: Tensor, strips: int, generator: torch.Generator) -> Tensor:
    """Permutes the `strips` vertical strips of each image and, independently, its horizontal ones.

    Source: RDED, where strips are size // strips wide and the last takes the remainder. Two strips a side
    give four equally likely arrangements. Images [n, c, h, w].
    """
    for axis in (3, 2):
        length = images.shape[axis]
        strip = (torch.arange(length) // max(length // strips, 1)).clamp(max=strips - 1)
        ranks = torch.rand(len(images), strips, generator=generator).argsort(1)
        order = (ranks[:, strip] * length + torch.arange(length)).argsort(1).to(images.device)
        images = images.take_along_dim(_along(order, axis), axis)
    return images


def draw_crops(count: int, size: int, least_area: float, generator: torch.Generator) -> Tensor:
    """Boxes of random area and shape inside square images, int64 [count, 4]: top, left, height, width.

    Source: torchvision's RandomResizedCrop: area uniform in [least_area, 1], log of the aspect ratio
    uniform in [3/4, 4/3], up to ten tries until the box fits, then the whole image. A `least_area` of 1
    always gives the whole image, as only unit aspect fits.
    """
    area, log_ratio, down, right = torch.rand(4, count, TRIES, generator=generator, dtype=torch.float64)
    area = size**2 * (least_area + (1 - least_area) * area)
    low, high = (math.log(ratio) for ratio in RATIO)
    ratio = torch.exp(low + (high - low) * log_ratio)
    width, height = torch.sqrt(area * ratio).round(), torch.sqrt(area / ratio).round()
    fits = (width > 0) & (width <= size) & (height > 0) & (height <= size)
    top, left = (down * (size - height + 1)).floor(), (right * (size - width + 1)).floor()
    boxes = torch.stack((top, left, height, width), 2)[torch.arange(count), fits.int().argmax(1)]
    whole = torch.tensor((0, 0, size, size), dtype=torch.float64)
    return torch.where(fits.any(1, keepdim=True), boxes, whole).long()


def crop_resize(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Each image's own box [n, 4] (top, left, height, width), resized bilinearly to `size` px square.

    Equals slicing and `interpolate(mode="bilinear", align_corners=False)`. No antialiasing: none is
    needed where a box is not larger than `size`. Images [n, c, h, w] of any size.
    """
    for axis, start, extent in ((2, boxes[:, 0], boxes[:, 2]), (3, boxes[:, 1], boxes[:, 3])):
        centres = (torch.arange(size, dtype=torch.float64) + 0.5) * extent[:, None] / size - 0.5
        place = torch.minimum(centres.clamp(min=0), extent[:, None] - 1.0)
        first = place.floor().long()
        second = torch.minimum(first + 1, extent[:, None] - 1)
        near, far = (
            images.take_along_dim(_along((start[:, None] + index).to(images.device), axis), axis)
            for index in (first, second)
        )
        images = torch.lerp(near, far, _along((place - first).to(images), axis))
    return images


def flip(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Mirrors each image left to right with the probability given."""
    chosen = torch.rand(len(images), generator=generator) < probability
    return torch.where(chosen.to(images.device)[:, None, None, None], images.flip(3), images)


def cutmix(images: Tensor, shares: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pastes one box, the same for the whole batch, from a permuted partner, and mixes class shares by area.

    Source: Yun et al. 2019 (arXiv:1905.04899) as coded for ImageNet: 1 - area is drawn from Beta(1, 1),
    the uniform distribution; the centre is uniform, the box is clipped at the border and shares follow
    the clipped box. RDED takes the same boxes and no shares.
    """
    size = images.shape[-1]
    partner = torch.randperm(len(images), generator=generator).to(images.device)
    side = int(size * math.sqrt(1 - torch.rand((), generator=generator, dtype=torch.float64).item()))
    centres = torch.randint(size, (2,), generator=generator).tolist()
    rows, columns = (slice(max(centre - side // 2, 0), min(centre + side // 2, size)) for centre in centres)
    mixed = images.clone()
    mixed[:, :, rows, columns] = images[partner, :, rows, columns]
    pasted = (rows.stop - rows.start) * (columns.stop - columns.start) / size**2
    return mixed, torch.lerp(shares, shares[partner], pasted)


def _along(values: Tensor, axis: int) -> Tensor:
    """Values [n, length] shaped to vary along the images and the axis given (2 or 3)."""
    return values[:, None, :, None] if axis == 2 else values[:, None, None, :]
