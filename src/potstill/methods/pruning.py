"""Leaving out real images by a classifier's loss, before anything is distilled."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from potstill.core.errors import PotstillError
from potstill.core.fingerprint import fingerprint
from potstill.core.settings import require_allowed
from potstill.data.real import RealData
from potstill.nets.predict import predict
from potstill.nets.store import StoredNet, load_net, rows_of

AT_ONCE = 256
ROUNDING = 1e-9
"""So that 0.7 of 90 images are 63."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """Keeps a `share` of each class's training images: those that a teacher finds easiest, or hardest.

    Source: Moser et al. 2024, "Distill the Best, Ignore the Rest" (arXiv:2411.12115): per-image cross-entropy over all
    that the teacher knows, sorted within the class, the share rounded down. Departs: at least one image stays; images
    come to the teacher's size by their central square, where the source's are squashed. Raises PotstillError for a
    share outside of (0, 1].
    """

    teacher: str
    share: float = 0.6
    order: Literal["easiest", "hardest"] = "easiest"

    def __post_init__(self) -> None:
        require_allowed(self)
        if not 0 < self.share <= 1:
            raise PotstillError(f"pruning keeps a share above 0 and at most 1, not {self.share}")

    def of(self, real: RealData, device: str) -> RealData:
        """The real data with fewer training images, in their old order."""
        stored = load_net(self.teacher).to(device)
        known = torch.tensor(rows_of(stored.classes, real.classes))
        losses = torch.cat(list(_losses(real, known[real.train.labels], stored)))
        kept = []
        for label in range(len(real.classes)):
            own = real.train.of_class(label)
            order = losses[own].argsort(descending=self.order == "hardest", stable=True)
            kept.append(own[order[: max(math.floor(self.share * len(own) + ROUNDING), 1)]])
        return replace(real, train=real.train.take(torch.cat(kept).sort().values))

    @property
    def weights(self) -> Mapping[str, str]:
        """The teacher."""
        return {self.teacher: fingerprint([load_net(self.teacher).module])}


@torch.no_grad()
def _losses(real: RealData, targets: Tensor, teacher: StoredNet) -> Iterator[Tensor]:
    for rows in torch.arange(len(real.train)).split(AT_ONCE):
        pixels = real.train.pixels(rows, teacher.size).float() / 255
        logits = predict(teacher.module, pixels.to(next(teacher.module.parameters()).device)).cpu()
        yield functional.cross_entropy(logits, targets[rows], reduction="none")
