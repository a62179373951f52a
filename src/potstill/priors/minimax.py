"""What Minimax adds to a diffusion loss: stay near every real image of the class, away from what was made before."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from potstill.core.errors import PotstillError


@dataclass(frozen=True, slots=True, kw_only=True)
class Minimax:
    """How a DiT is fine-tuned by Minimax.

    Source: Minimax (Gu et al. 2024, arXiv:2311.15529) and its public code: AdamW without decay at a constant rate,
    labels dropped for a tenth of the images, 64 vectors of a class in each memory, a running mean of 0.9999.
    `representative` and `diverse` weigh the two losses; `groups` is the number of classes that share a checkpoint
    (None: all), 20 in CONCORD for ImageNet-1K; `original` computes DiT as its authors do while it is trained
    (`DiT.as_published`), for sampling with `original` too. Raises PotstillError for numbers out of range.
    """

    prior: str
    epochs: int = 8
    batch: int = 8
    rate: float = 1e-3
    representative: float = 0.002
    diverse: float = 0.008
    memory: int = 64
    dropped: float = 0.1
    average: float = 0.9999
    groups: int | None = None
    seed: int = 0
    original: bool = False

    def __post_init__(self) -> None:
        counts = (self.epochs, self.batch, self.memory, 1 if self.groups is None else self.groups)
        if min(counts) < 1:
            raise PotstillError(f"epochs, batch, memory and groups must be at least 1, not {counts}")
        if not (0 <= self.dropped < 1 and 0 <= self.average < 1):
            raise PotstillError(f"dropped and average must lie in [0, 1), not {self.dropped}, {self.average}")
        if not (
            0 < self.rate < math.inf and 0 <= self.representative < math.inf and 0 <= self.diverse < math.inf
        ):
            raise PotstillError(
                "the rate must be positive, representative and diverse at least 0, all of them finite, not "
                f"{self.rate}, {self.representative}, {self.diverse}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """The last vectors of every class, first in, first out: `items` [classes, size, d] in a ring.

    `pushed` int64 [classes] says how many ever came; those from the last `size` of them on are held.
    """

    items: Tensor
    pushed: Tensor

    @classmethod
    def empty(cls, classes: int, size: int, width: int, device: torch.device | str = "cpu") -> "Memory":
        """A memory that holds nothing yet."""
        items = torch.zeros(classes, size, width, device=device)
        return cls(items, torch.zeros(classes, dtype=torch.int64, device=device))

    def push(self, vectors: Tensor, labels: Tensor) -> None:
        """Takes in vectors [n, d] of classes [n], in order, each in the place of the oldest of its class.

        In parts of at most `size`, for no order holds among writes to one place.
        """
        size = self.items.shape[1]
        for some, own in zip(vectors.detach().split(size), labels.split(size), strict=True):
            before = (own[:, None] == own).tril(-1).sum(1)
            self.items[own, (self.pushed[own] + before) % size] = some
            self.pushed.index_add_(0, own, torch.ones_like(own))

    def held(self, labels: Tensor) -> Tensor:
        """Which places of classes [n] are filled: bool [n, size]."""
        places = torch.arange(self.items.shape[1], device=labels.device)
        return places < self.pushed[labels][:, None]


def representativeness(vectors: Tensor, labels: Tensor, real: Memory) -> Tensor:
    """1 - the least cosine between a class's predictions [n, d] and its real memory, averaged over classes.

    Source: Minimax (Gu et al. 2024, arXiv:2311.15529), the loss of representativeness; a class without memory counts
    as 0. A scalar in [0, 2], whose gradient reaches `vectors`. Departs: a vector of length 0 has a cosine of 0.
    """
    cosines, held = _cosines(vectors, labels, real)
    return _mean_over_classes(1 - _least(cosines, held, labels), held, labels)


def diversity(vectors: Tensor, labels: Tensor, pseudo: Memory) -> Tensor:
    """The greatest cosine between a class's predictions [n, d] and its earlier ones, averaged over classes.

    Source: as `representativeness`. A scalar in [-1, 1].
    """
    cosines, held = _cosines(vectors, labels, pseudo)
    return _mean_over_classes(-_least(-cosines, held, labels), held, labels)


def _cosines(vectors: Tensor, labels: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
    """Of every vector to every place of its class's memory [n, size], and which places are filled."""
    near = functional.normalize(memory.items[labels], dim=2)
    return torch.einsum("nd,nsd->ns", functional.normalize(vectors, dim=1), near), memory.held(labels)


def _least(values: Tensor, held: Tensor, labels: Tensor) -> Tensor:
    """The least value of each row's class over its rows and filled places, [n]; 2 where none is filled."""
    rows = values.masked_fill(~held, 2.0).amin(1)
    return rows.masked_fill(labels[:, None] != labels, 2.0).amin(1)


def _mean_over_classes(terms: Tensor, held: Tensor, labels: Tensor) -> Tensor:
    """The mean over distinct classes of terms [n] that rows of a class share, 0 for those without memory."""
    share = (labels[:, None] == labels).sum(1).to(terms.dtype).reciprocal()
    return (torch.where(held.any(1), terms, 0.0) * share).sum() / share.sum()
