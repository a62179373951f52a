"""Random changes of a whole batch at once, each image with its own draws from a generator."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from potstill.core.errors import PotstillError

Augment = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
"""Images [n, 3, s, s] in [0, 1] and class shares [n, classes] to the same, changed."""

TRIES = 10
RATIO = (3 / 4, 4 / 3)


def unchanged(images: Tensor, shares: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """No augmentation; draws nothing."""
    return images, shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """RDED's order of changes: patch shuffle, resized crop, flip, CutMix.

    Source: RDED (arXiv:2312.03526), validation code. Departs: the net normalises after CutMix, not
    before, which gives the same as it works on each pixel alone; and class shares are mixed too, unused
    there. `shuffle` is the number of strips a side is cut into (1: none), `least_area` the least share of
    the image's area that a crop keeps (1: no crop), `flip` the probability of a horizontal flip, and
    CutMix, where on, is always done. Raises PotstillError for settings outside of their ranges.
    """

    shuffle: int = 1
    least_area: float = 1.0
    flip: float = 0.0
    cutmix: bool = False

    def __post_init__(self) -> None:
        if self.shuffle < 1:
            raise PotstillError(f"a patch shuffle needs at least 1 strip a side, not {self.shuffle}")
        if not 0 < self.least_area <= 1:
            raise PotstillError(f"the least area of a crop must be in (0, 1], not {self.least_area}")
        if not 0 <= self.flip <= 1:
            raise PotstillError(f"the probability of a flip must be in [0, 1], not {self.flip}")

    def __call__(self, images: Tensor, shares: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Changed images and class shares; what is switched off draws nothing."""
        count, size = len(images), images.shape[-1]
        if self.shuffle > 1:
            images = patch_shuffle(images, self.shuffle, generator)
        if self.least_area < 1:
            images = crop_resize(images, draw_crops(count, size, self.least_area, generator), size)
        if self.flip > 0:
            images = flip(images, self.flip, generator)
        return cutmix(images, shares, generator) if self.cutmix else (images, shares)


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
