"""What a canvas is: tensors that are optimised, and a way from them to images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from potstill.data.real import RealData
from potstill.distilled import Slot


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A tensor that is optimised, a leaf, and its learning rate."""

    value: Tensor
    rate: float


class Surface(Protocol):
    """A canvas made ready for the slots of a set; a row of every learned tensor belongs to one slot."""

    @property
    def size(self) -> int:
        """The height and width of its images, in pixels."""
        ...

    @property
    def copies(self) -> int:
        """How many images a slot becomes while it is matched."""
        ...

    @property
    def weights(self) -> Mapping[str, str]:
        """The models it uses: name to hex SHA-256."""
        ...

    @property
    def learned(self) -> Mapping[str, Learned]:
        """What is optimised, by name, each [slots, ...]."""
        ...

    def images(self, rows: slice) -> Tensor:
        """Images of some slots as they are matched, float32 RGB [n * copies, 3, size, size] around [0, 1].

        The copies of a slot follow each other; gradients reach the learned tensors; the same call gives the same
        images, and a slot's don't depend on what other slots are asked for.
        """
        ...

    def kept(self, rows: slice) -> Tensor:
        """Images of some slots as a set keeps them, float32 [n, 3, size, size] around [0, 1], without gradient."""
        ...


class Canvas(Protocol):
    """Frozen settings of a canvas."""

    @property
    def kind(self) -> str:
        """The canvas's name in the table."""
        ...

    def prepare(self, real: RealData, slots: Sequence[Slot], *, seed: int, device: str) -> Surface:
        """Loads models and sets every learned tensor to its start, drawn for each slot from its own generator.

        Raises PotstillError where data, models and settings don't fit together.
        """
        ...
