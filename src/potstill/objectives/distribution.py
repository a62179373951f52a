"""Distribution matching: class means in the features of random nets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from potstill.canvas import Learned
from potstill.core.seeds import generator
from potstill.data.real import RealData
from potstill.nets.siamese import OPERATIONS, Siamese
from potstill.nets.spec import Net, build
from potstill.objectives.batches import RealBatches, alike, per_class, siamese


@dataclass(frozen=True, slots=True, kw_only=True)
class DistributionMatching:
    """The squared distance of class means of features, in a new random net each iteration.

    Source: DM (Zhao & Bilen 2023, arXiv:2110.04181), Eq. 5; per class `batch` real images, and one Siamese change of
    `operations` for both sides. The net sees batches in training mode and is never trained.
    Departs: all classes go through the net in one batch, which changes nothing where the net has no BatchNorm.
    """

    kind: Literal["distribution"] = "distribution"
    net: str = "convnet-3-instance"
    batch: int = 256
    operations: tuple[str, ...] = OPERATIONS

    def prepare(
        self, real: RealData, *, images_per_class: int, copies: int, size: int, seed: int, device: str
    ) -> "DistributionMatcher":
        """Reads the real images; raises PotstillError for an unknown net or operation."""
        batches = RealBatches.of(real, size, device)
        change = siamese(self.operations, real.mirror)
        return DistributionMatcher(self, batches, len(real.classes), change, size, seed, device)


@dataclass(eq=False)
class DistributionMatcher:
    """Distribution matching made ready."""

    settings: DistributionMatching
    real: RealBatches
    classes: int
    change: Siamese | None
    size: int
    seed: int
    device: str
    weights: Mapping[str, str] = field(default_factory=dict)
    learned: Mapping[str, Learned] = field(default_factory=dict)

    def begin(self, iteration: int) -> int:
        """A new random net; one step."""
        self.iteration = iteration
        start = generator(self.seed, "net", iteration)
        self.net = build(Net.parse(self.settings.net), self.classes, self.size, start).to(self.device)
        self.net.requires_grad_(False).train()
        return 1

    def loss(self, images: Tensor, labels: Tensor, step: int) -> Tensor:
        """Sum over classes |mean of real features - mean of synthetic features|^2."""
        each = per_class(labels, self.classes)
        identity = (self.seed, "match", self.iteration)
        real, synthetic = alike(self.real, images, self.settings.batch, self.change, *identity)
        with torch.no_grad():
            wanted = [features(self.net, part).mean(0) for part in real]
        found = features(self.net, torch.cat(synthetic)).unflatten(0, (self.classes, each)).mean(1)
        return (torch.stack(wanted) - found).square().sum()

    def learn(self, images: Callable[[], Tensor], labels: Tensor, step: int) -> None:
        """Nothing: the nets stay random."""

    def state(self) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing."""


def features(net: nn.Module, images: Tensor) -> Tensor:
    """What goes into a net's last layer, [n, d]."""
    embed: Any = net.embed
    return embed(images)
