"""What a method is: settings that become a maker, which fills the places of a set batch by batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from potstill.core.progress import OnStep
from potstill.data.real import RealData
from potstill.distilled import Slot


@dataclass(frozen=True, slots=True)
class Made:
    """One image as uint8 [3, height, width], and what is worth writing down about it.

    `exact` is the same image as float32 around [0, 1], where 8 bits don't hold what was made.
    """

    image: Tensor
    details: Mapping[str, Any] = field(default_factory=dict)
    exact: Tensor | None = None


class Maker(Protocol):
    """A method made ready for one data set and seed: models loaded, classes matched."""

    @property
    def size(self) -> int:
        """The height and width of the images it makes, in pixels."""
        ...

    @property
    def weights(self) -> Mapping[str, str]:
        """The models it uses: name to hex SHA-256."""
        ...

    def make(self, slots: Sequence[Slot], on_step: OnStep) -> list[Made]:
        """One image for each slot; an image depends on its slot and the seed alone, not on its companions."""
        ...


class Method(Protocol):
    """Frozen settings of a method, saved with every set it makes."""

    @property
    def kind(self) -> str:
        """The method's name in the table."""
        ...

    def prepare(self, real: RealData, *, seed: int, images_per_class: int, device: str) -> Maker:
        """Loads what is needed; raises PotstillError where data, models and settings don't fit together."""
        ...
