"""Leaving out real images by a classifier's loss, before anything is distilled."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from potstill.core.errors import PotstillError
from potstill.data.real import RealData
from potstill.nets.predict import predict
from potstill.nets.store import load_net

AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """Keeps a `share` of each class's training images: those that a teacher finds easiest, or hardest.

    Source: Moser et al. 2024, "Distill the Best, Ignore the Rest" (arXiv:2411.12115): per-image cross-entropy, sorted
    within the class; rounded down there, here at least one image stays. Raises PotstillError for a share outside of
    (0, 1].
    """

    teacher: str
    share: float = 0.6
    order: Literal["easiest", "hardest"] = "easiest"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise PotstillError(f"pruning keeps a share above 0 and at most 1, not {self.share}")

    def of(self, real: RealData, device: str) -> RealData:
        """The real data with fewer training images, in their old order."""
        stored = load_net(self.teacher).narrowed(real.classes).to(device)
        rows = torch.arange(len(real.train))
        losses = torch.cat(list(self._losses(real, rows, stored.module, stored.size, device)))
        kept = []
        for label in range(len(real.classes)):
            own = real.train.of_class(label)
            order = losses[own].argsort(descending=self.order == "hardest", stable=True)
            kept.append(own[order[: max(int(self.share * len(own)), 1)]])
        return replace(real, train=real.train.take(torch.cat(kept).sort().values))

    @staticmethod
    @torch.no_grad()
    def _losses(
        real: RealData, rows: Tensor, teacher: torch.nn.Module, size: int, device: str
    ) -> Iterator[Tensor]:
        for part in rows.split(AT_ONCE):
            pixels = real.train.pixels(part, size).to(device).float() / 255
            labels = real.train.labels[part]
            yield functional.cross_entropy(predict(teacher, pixels).cpu(), labels, reduction="none")
