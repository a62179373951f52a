"""What an objective is: how unlike synthetic and real images are, as one scalar, measured through nets in training."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

from potstill.canvas import Learned
from potstill.data.real import RealData


class Matcher(Protocol):
    """An objective made ready for one data set and seed.

    Between two iterations nothing lives but `learned` and `state`: what an iteration needs it draws from generators of
    (seed, iteration), so that a run that is resumed there gives the same bits.
    """

    @property
    def weights(self) -> Mapping[str, str]:
        """The models it uses: name to hex SHA-256."""
        ...

    @property
    def learned(self) -> Mapping[str, Learned]:
        """What it learns beside the images, by name; mostly nothing."""
        ...

    def begin(self, iteration: int) -> int:
        """Makes ready for an iteration; how many steps the images take in it."""
        ...

    def loss(self, images: Tensor, labels: Tensor, step: int) -> Tensor:
        """The scalar to make small, for float images [n, 3, s, s] around [0, 1] and labels int64 [n], ascending.

        Every class has equally many images. Gradients reach the images and `learned`, nothing else.
        """
        ...

    def learn(self, images: Callable[[], Tensor], labels: Tensor, step: int) -> None:
        """Goes on after the images have moved: trains what is trained on them, made when they are asked for."""
        ...

    def state(self) -> Mapping[str, Any]:
        """What lives between iterations beside `learned`, as `torch.save` with weights only keeps it."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        ...


class Objective(Protocol):
    """Frozen settings of an objective."""

    @property
    def kind(self) -> str:
        """The objective's name in the table."""
        ...

    def prepare(self, real: RealData, *, images_per_class: int, size: int, seed: int, device: str) -> Matcher:
        """Loads what is needed; raises PotstillError where data, models and settings don't fit together.

        Real images are seen at `size` px.
        """
        ...
