"""Distribution matching: class means in the features of random nets."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from potstill.data.real import RealData
from potstill.nets.siamese import OPERATIONS
from potstill.objectives.batches import per_class
from potstill.objectives.comparing import Comparing, class_means, features, require_from_1


@dataclass(frozen=True, slots=True, kw_only=True)
class DistributionMatching:
    """The squared distance of class means of features, in a new random net each iteration.

    Source: DM (Zhao & Bilen 2023, arXiv:2110.04181), Eq. 5; per class `batch` real images, and one Siamese change of
    `operations` for both sides. The net sees batches in training mode and is never trained.
    Nets with BatchNorm see all classes in one batch, real ones in one of their own, as in the public code. Raises
    PotstillError for a batch below 1.
    """

    kind: Literal["distribution"] = "distribution"
    net: str = "convnet-3-instance"
    batch: int = 256
    operations: tuple[str, ...] = OPERATIONS

    def __post_init__(self) -> None:
        require_from_1(self, "batch")

    def prepare(
        self, real: RealData, *, images_per_class: int, size: int, seed: int, device: str
    ) -> "DistributionMatcher":
        """Reads the real images; raises PotstillError for an unknown net or operation."""
        return DistributionMatcher(self, real, size=size, seed=seed, device=device)


class DistributionMatcher(Comparing[DistributionMatching]):
    """Distribution matching made ready."""

    def begin(self, iteration: int) -> int:
        """A new random net; one step."""
        self.iteration = iteration
        self.net = self.fresh(iteration).requires_grad_(False).train()
        return 1

    def loss(self, images: Tensor, labels: Tensor, step: int) -> Tensor:
        """Sum over classes |mean of real features - mean of synthetic features|^2."""
        each = per_class(labels, self.classes)
        real, synthetic = self.alike(images, step)
        found = features(self.net, torch.cat(synthetic)).unflatten(0, (self.classes, each)).mean(1)
        return (class_means(self.net, real) - found).square().sum()
