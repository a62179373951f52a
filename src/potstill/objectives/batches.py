"""Batches of real images of one class, and changes that real and synthetic images share."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.data.real import RealData
from potstill.nets.siamese import Siamese, surviving


@dataclass(frozen=True, eq=False)
class RealBatches:
    """All real training images as uint8 [n, 3, s, s] on a device, and the rows of every class."""

    pixels: Tensor
    rows: Sequence[Tensor]

    @classmethod
    def of(cls, real: RealData, size: int, device: str) -> "RealBatches":
        """Reads every training image once, at `size` px."""
        rows = [real.train.of_class(label) for label in range(len(real.classes))]
        return cls(real.train.pixels(None, size).to(device), rows)

    def draw(self, label: int, count: int, draws: torch.Generator) -> Tensor:
        """At most `count` different images of a class, float32 [m, 3, s, s] in [0, 1]."""
        own = self.rows[label]
        chosen = own[torch.randperm(len(own), generator=draws)[:count]]
        return self.pixels[chosen.to(self.pixels.device)].float() / 255

    def any(self, count: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """`count` images of whatever class, with replacement, float32 in [0, 1], and their labels, int64."""
        sizes = torch.tensor([len(own) for own in self.rows])
        labels = torch.arange(len(sizes)).repeat_interleave(sizes)
        chosen = torch.randint(len(labels), (count,), generator=draws)
        rows = torch.cat(list(self.rows))[chosen].to(self.pixels.device)
        return self.pixels[rows].float() / 255, labels[chosen].to(self.pixels.device)


def siamese(operations: Sequence[str], mirror: bool) -> Siamese | None:
    """The change that both sides of a comparison see alike, or None; without `mirror` nothing is flipped.

    Raises PotstillError for an operation there is not.
    """
    kept = surviving(mirror, operations)
    return Siamese(operations=kept, shared=True) if kept else None


def changed(images: Tensor, change: Siamese | None, draws: torch.Generator) -> Tensor:
    """Images through a change; two batches with generators in the same state are changed alike."""
    if change is None:
        return images
    return change(images, images.new_empty(len(images), 0), draws)[0]


def per_class(labels: Tensor, classes: int) -> int:
    """How many rows each class has, in labels that ascend; raises PotstillError where they don't all have as many."""
    counts = labels.bincount(minlength=classes)
    each = int(counts[0])
    if (counts != each).any() or (labels.diff() < 0).any():
        raise PotstillError(
            f"every class needs equally many images, in ascending order; found {counts.tolist()}"
        )
    return each
