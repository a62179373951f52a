"""What evaluation asks of a set, be it distilled here or somebody else's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from potstill.distilled.set import Manifest


class Evaluable(Protocol):
    """A set of labelled images with its provenance."""

    @property
    def folder(self) -> Path:
        """Where its evaluations are kept, in `evaluations/`."""
        ...

    @property
    def manifest(self) -> Manifest:
        """What it is."""
        ...

    def first(self, images_per_class: int) -> "Evaluable":
        """The same set cut to the first images of every class; raises PotstillError where it has fewer."""
        ...

    def examples(self, keys: Sequence[str]) -> tuple[Tensor, Tensor]:
        """What students train on: images [n, 3, size, size], uint8 or float around [0, 1], and labels, int64 [n].

        Labels are positions among `keys`; raises PotstillError for a class that only one of the two has.
        """
        ...
