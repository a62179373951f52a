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

    def images(self) -> Tensor:
        """All images as uint8 [n, 3, size, size]."""
        ...

    def labels(self, keys: Sequence[str]) -> Tensor:
        """Their class positions among `keys`, int64 [n]; raises PotstillError for a class that `keys` lacks."""
        ...
