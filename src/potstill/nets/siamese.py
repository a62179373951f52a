"""Differentiable Siamese augmentation: one kind of change for a batch, gradients to the pixels."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from potstill.core.errors import unknown
from potstill.nets.layers import DEVIATION, MEAN

OPERATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")
"""The changes of the full strategy, in the source's spelling and order."""


def surviving(mirror: bool, operations: Sequence[str] = OPERATIONS) -> tuple[str, ...]:
    """Those operations that keep classes: all, but for the flip where it doesn't."""
    return tuple(name for name in operations if mirror or name != "flip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Siamese:
    """One of `operations`, drawn for the batch, each image with its own strength.

    Source: DSA (Zhao & Bilen 2021, arXiv:2102.08259), section 3.2, with the strengths of its code: brightness 1,
    saturation 2, contrast 0.5, crop 0.125, cutout 0.5, flip 0.5, scale 1.2, rotation 15 degrees. It works on
    normalised pixels, so that what is empty has the mean colour. `shared` gives all images the first one's strength,
    which is how real and synthetic batches are changed alike while matching. Departs: normalised by ImageNet's
    colours for every data set, as our nets are; grids have align_corners=False, as in the DSA code (MTT and GLaD:
    True). Raises PotstillError for an operation there is not.
    """

    operations: tuple[str, ...] = OPERATIONS
    shared: bool = False

    def __post_init__(self) -> None:
        for name in self.operations:
            if name not in OPERATIONS:
                raise unknown("operation of Siamese augmentation", name, OPERATIONS)

    def __call__(self, images: Tensor, shares: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images [n, 3, s, s] in [0, 1], changed; values may leave [0, 1]."""
        chosen = self.operations[int(torch.randint(len(self.operations), (), generator=generator))]
        mean, deviation = (torch.tensor(v).to(images)[None, :, None, None] for v in (MEAN, DEVIATION))
        count = 1 if self.shared else len(images)

        def draw() -> Tensor:
            return torch.rand(count, generator=generator).to(images).expand(len(images))

        return _CHANGES[chosen]((images - mean) / deviation, draw) * deviation + mean, shares


Draw = Callable[[], Tensor]
"""Uniform numbers in [0, 1), one an image."""


def color(images: Tensor, draw: Draw) -> Tensor:
    """Brightness, saturation and contrast in turn."""
    images = images + (_each(draw()) - 0.5)
    middle = images.mean(1, keepdim=True)
    images = (images - middle) * (2 * _each(draw())) + middle
    middle = images.mean((1, 2, 3), keepdim=True)
    return (images - middle) * (_each(draw()) + 0.5) + middle


def crop(images: Tensor, draw: Draw) -> Tensor:
    """Shifts by up to an eighth of a side along both axes; the rest is empty."""
    size = images.shape[-1]
    most = round(size / 8)
    padded = functional.pad(images, (most,) * 4)
    for axis in (2, 3):
        first = (draw() * (2 * most + 1)).floor().long()
        places = first[:, None] + torch.arange(size, device=images.device)
        padded = padded.take_along_dim(_along(places, axis), axis)
    return padded


def cutout(images: Tensor, draw: Draw) -> Tensor:
    """Empties a square of half a side around a random centre, cut off at the border."""
    size = images.shape[-1]
    side = round(size / 2)
    places = torch.arange(size, device=images.device)
    inside = []
    for _ in range(2):
        centre = (draw() * (size + (1 - side % 2))).floor()[:, None]
        inside.append((places >= centre - side // 2) & (places < centre - side // 2 + side))
    return images.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.0)


def flip(images: Tensor, draw: Draw) -> Tensor:
    """Mirrors left to right with probability 0.5."""
    return torch.where(_each(draw()) < 0.5, images.flip(3), images)


def scale(images: Tensor, draw: Draw) -> Tensor:
    """Shrinks or enlarges each axis by a factor in [1/1.2, 1.2]."""
    factors = [draw() * (1.2 - 1 / 1.2) + 1 / 1.2 for _ in range(2)]
    zero = torch.zeros_like(factors[0])
    return _warp(images, [[factors[0], zero], [zero, factors[1]]])


def rotate(images: Tensor, draw: Draw) -> Tensor:
    """Turns by up to 15 degrees."""
    angle = (draw() - 0.5) * 2 * 15 / 180 * math.pi
    return _warp(images, [[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])


_CHANGES: dict[str, Callable[[Tensor, Draw], Tensor]] = {
    "color": color,
    "crop": crop,
    "cutout": cutout,
    "flip": flip,
    "scale": scale,
    "rotate": rotate,
}


def _each(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _along(places: Tensor, axis: int) -> Tensor:
    return places[:, None, :, None] if axis == 2 else places[:, None, None, :]


def _warp(images: Tensor, rows: list[list[Tensor]]) -> Tensor:
    linear = torch.stack([torch.stack(row, 1) for row in rows], 1)
    matrix = torch.cat([linear, torch.zeros_like(linear[:, :, :1])], 2)
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)
