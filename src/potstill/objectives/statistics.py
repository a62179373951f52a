"""BatchNorm statistics: images that a trained net names, and whose features vary as those that it was trained on."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor
from torch.nn import functional

from potstill.canvas import Learned
from potstill.core.errors import PotstillError
from potstill.core.fingerprint import fingerprint
from potstill.core.seeds import generator
from potstill.data.real import RealData
from potstill.nets.siamese import OPERATIONS
from potstill.nets.store import StoredNet, load_net
from potstill.objectives.batches import changed, siamese
from potstill.objectives.batchnorm import batch_norms, mismatch, watched


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchNormStatistics:
    """A teacher's cross-entropy, and how far the moments of its features are from the running ones.

    Source: SRe2L (Yin et al. 2023, arXiv:2306.13092), the loss of its recover step, here on any canvas; the method
    `sre2l` is the source's own way with pixels (Adam, crops, a batch for each image index). `teacher` is a folder,
    shipped name or hub id, `weight` that of the statistics, `first` its first layer's against the others. Departs: all
    images of a set are one batch, and one Siamese change of `operations` for all stands for the source's crops.
    Raises PotstillError for a weight out of range.
    """

    kind: Literal["statistics"] = "statistics"
    teacher: str
    weight: float = 0.01
    first: float = 10.0
    operations: tuple[str, ...] = OPERATIONS

    def __post_init__(self) -> None:
        for name in ("weight", "first"):
            if not 0 <= getattr(self, name) < math.inf:
                raise PotstillError(
                    f"statistics matching: {name} must be at least 0, not {getattr(self, name)}"
                )

    def prepare(
        self, real: RealData, *, images_per_class: int, size: int, seed: int, device: str
    ) -> "StatisticsMatcher":
        """Loads the teacher, narrowed to the data's classes; no real image is read.

        It sees images at its own size. Raises PotstillError where it lacks a class or has no BatchNorm layers.
        """
        stored = load_net(self.teacher).narrowed(real.classes).to(device)
        if not batch_norms(stored.module):
            raise PotstillError(f"{self.teacher} ({stored.spec.label}) has no BatchNorm layers to match")
        return StatisticsMatcher(self, stored, real.mirror, seed)


class StatisticsMatcher:
    """BatchNorm statistics made ready: nothing is trained, and nothing lives between iterations."""

    def __init__(self, settings: BatchNormStatistics, stored: StoredNet, mirror: bool, seed: int) -> None:
        self.settings, self.teacher, self.seed, self.iteration = settings, stored, seed, 0
        self.layers = batch_norms(stored.module)
        self.change = siamese(settings.operations, mirror)
        self.learned: Mapping[str, Learned] = {}

    @property
    def weights(self) -> Mapping[str, str]:
        """The teacher's."""
        return {self.settings.teacher: fingerprint([self.teacher.module])}

    def begin(self, iteration: int) -> int:
        """One step."""
        self.iteration = iteration
        return 1

    def loss(self, images: Tensor, labels: Tensor, step: int) -> Tensor:
        """Mean cross-entropy + weight x the mismatch of moments."""
        seen_as = changed(images, self.change, generator(self.seed, "statistics", self.iteration))
        with watched(self.layers) as seen:
            naming = functional.cross_entropy(self.teacher.logits(seen_as), labels)
            return naming + self.settings.weight * mismatch(self.layers, seen, self.settings.first)

    def learn(self, images: Callable[[], Tensor], labels: Tensor, step: int) -> None:
        """Nothing."""

    def state(self) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing."""
