"""What objectives share that compare synthetic images with batches of real ones, class by class."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from potstill.canvas import Learned
from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.data.real import RealData
from potstill.nets.spec import Net, build
from potstill.objectives.batches import RealBatches, changed, siamese
from potstill.objectives.batchnorm import batch_norms


class Compared(Protocol):
    """Settings that say through which nets, with how many real images a class, and changed how."""

    @property
    def net(self) -> str:
        """A net by short name."""
        ...

    @property
    def batch(self) -> int:
        """Real images a class."""
        ...

    @property
    def operations(self) -> tuple[str, ...]:
        """The changes that both sides see alike; none leaves images as they are."""
        ...


S = TypeVar("S", bound=Compared)


class Comparing(Generic[S]):
    """A matcher that learns nothing beside the images and keeps nothing between iterations, unless it says so.

    Raises PotstillError for an operation or net there is not.
    """

    def __init__(self, settings: S, real: RealData, *, size: int, seed: int, device: str) -> None:
        self.settings, self.size, self.seed, self.device = settings, size, seed, device
        self.spec, self.classes = Net.parse(settings.net), len(real.classes)
        self.change = siamese(settings.operations, real.mirror)
        self.real = RealBatches.of(real, size, device)
        self.weights: Mapping[str, str] = {}
        self.learned: Mapping[str, Learned] = {}
        self.iteration = 0

    def learn(self, images: Callable[[], Tensor], labels: Tensor, step: int) -> None:
        """Nothing."""

    def state(self) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing."""

    def fresh(self, number: int) -> nn.Module:
        """The run's random net of a number."""
        start = generator(self.seed, "net", number)
        return build(self.spec, self.classes, self.size, start).to(self.device)

    def alike(self, images: Tensor, step: int) -> tuple[list[Tensor], list[Tensor]]:
        """For every class a batch of real images and its own synthetic ones, both changed in the same way.

        `images` are class after class, equally many each.
        """
        real, own = [], []
        for label, part in enumerate(images.split(len(images) // self.classes)):
            identity = (self.seed, "match", self.iteration, step, label)
            drawn = self.real.draw(label, self.settings.batch, generator(*identity, "real"))
            real.append(changed(drawn, self.change, generator(*identity, "change")))
            own.append(changed(part, self.change, generator(*identity, "change")))
        return real, own


def require_from_1(settings: Any, *names: str) -> None:
    """Raises PotstillError for a setting below 1; None stands for the usual."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise PotstillError(f"{settings.kind} matching: {name} must be at least 1, not {value}")


def features(net: nn.Module, images: Tensor) -> Tensor:
    """What goes into a net's last layer, [n, d]."""
    embed: Any = net.embed
    return embed(images)


def class_means(net: nn.Module, parts: list[Tensor]) -> Tensor:
    """The mean features of every class's images, [classes, d], without gradient.

    Classes go through the net one by one, which bounds memory, but where its BatchNorm takes statistics of the batch.
    """
    together = any(layer.training for layer in batch_norms(net))
    with torch.no_grad():
        if together:
            found = features(net, torch.cat(parts)).split([len(part) for part in parts])
        else:
            found = [features(net, part) for part in parts]
        return torch.stack([one.mean(0) for one in found])
