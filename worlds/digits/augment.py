"""Light affine variation of digits: the same for every model of this world."""

import torch
from torch import Tensor
from torch.nn import functional as F


def vary(pixels: Tensor, draw: torch.Generator) -> Tensor:
    """Turns (0.15 rad), scales (10 %), shears (0.1) and shifts (2 px of 32) each image by its own draw.

    Images are [n, 3, h, w]. Black comes in from outside; values keep their range [0, 1].
    """
    count = len(pixels)
    turn, scale, shear, right, down = torch.rand(5, count, generator=draw) * 2 - 1
    angle, size = 0.15 * turn, 1 + 0.1 * scale
    cosine, sine = angle.cos() / size, angle.sin() / size
    rows = [cosine, -sine + 0.1 * shear, 0.125 * right, sine, cosine, 0.125 * down]
    grid = F.affine_grid(torch.stack(rows, 1).reshape(count, 2, 3), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, align_corners=False)


def train_pixels() -> tuple[Tensor, Tensor]:
    """The 4,000 training digits in [0, 1] and their labels."""
    from potstill.data.digits import digit_arrays, digit_split

    images, labels = digit_arrays()
    rows = torch.from_numpy(digit_split()[0])
    return images[rows].float() / 255, labels[rows]


def test_pixels() -> tuple[Tensor, Tensor]:
    """The 1,000 test digits in [0, 1] and their labels."""
    from potstill.data.digits import digit_arrays, digit_split

    images, labels = digit_arrays()
    rows = torch.from_numpy(digit_split()[1])
    return images[rows].float() / 255, labels[rows]
