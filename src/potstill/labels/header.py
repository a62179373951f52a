"""What stored labels are of, and the random draws that belong to them."""

import hashlib
import json
from dataclasses import dataclass

import torch
from torch import Tensor

from potstill.core.seeds import generator
from potstill.core.settings import to_plain

BLOCK = 4096
"""Views, at least, that are coded together, in whole epochs; the first block is what the codec is fitted to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the labels are of: the images, the views, the classes in their order, and the teacher.

    The views are those that `nets.fit.views` draws, epoch after epoch, from the generator of `seed`, in batches of
    `batch` changed by `changes` (settings as JSON): a seed stands for every box, flip and partner. `images` is the hash
    of so many (`count`) images.
    """

    format: int
    images: str
    count: int
    classes: tuple[str, ...]
    teacher: str
    teacher_sha256: str
    seed: int
    epochs: int
    batch: int
    changes: str

    @property
    def span(self) -> int:
        """The epochs of a block, of which the last block may have fewer."""
        return min(self.epochs, -(-BLOCK // self.count))

    @property
    def blocks(self) -> list[range]:
        """The epochs of each block."""
        return [
            range(first, min(first + self.span, self.epochs)) for first in range(0, self.epochs, self.span)
        ]

    @property
    def digest(self) -> str:
        """A short hash of all of it."""
        return hashlib.sha256(json.dumps(to_plain(self), sort_keys=True).encode()).hexdigest()[:16]


def view_draws(seed: int) -> torch.Generator:
    """The generator of the views of stored labels."""
    return generator(seed, "labels", "views")


def block_dither(seed: int, block: int, views: int, components: int) -> Tensor:
    """The dither of a block, uniform in [-0.5, 0.5), [views, components]."""
    return torch.rand(views, components, generator=generator(seed, "labels", "dither", block)) - 0.5
