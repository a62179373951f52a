"""What a guidance term is, and how terms compose around a prior."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from potstill.priors import Condition, Prior


@dataclass(frozen=True, slots=True)
class Moment:
    """Where in the denoising loop a call stands: step `index` of `total` (0-based), its timestep and alpha-bar."""

    index: int
    total: int
    t: Tensor
    alpha_bar: float


@dataclass(frozen=True, slots=True)
class Targets:
    """What a term of one batch aims at, one row an image.

    Classes `labels` [n]; unit text embeddings of the concepts to show, `positives` [n, k, d], and not to show,
    `negatives` [n, m, d]; `complete` [n], the mean cosine at which an image is called complete.
    """

    labels: Tensor
    positives: Tensor | None = None
    negatives: Tensor | None = None
    complete: Tensor | None = None

    def rows(self, rows: Tensor) -> "Targets":
        """The targets of some images."""
        parts = (self.positives, self.negatives, self.complete)
        return Targets(self.labels[rows], *(None if part is None else part[rows] for part in parts))


Denoiser = Callable[[Tensor, Moment], Tensor]
Bound = Callable[[Tensor, Moment, Tensor], Tensor]


class Term(Protocol):
    """A guidance term; `through_denoiser` says that it differentiates the clean latent by the noisy one."""

    @property
    def through_denoiser(self) -> bool:
        """Whether the term needs the graph from the noisy to the clean latent."""
        ...

    def bind(self, prior: Prior, condition: Condition) -> Bound:
        """The term made ready for one batch: a function that may remember what it did at earlier steps."""
        ...


def guided(prior: Prior, condition: Condition, terms: Sequence[Term]) -> Denoiser:
    """A prior's denoiser for one batch, bent by terms from left to right; with no terms the bare denoiser.

    Where a term differentiates through the denoiser, the denoiser is checkpointed: its activations are computed
    again on the way back instead of being kept.
    """
    bound = [term.bind(prior, condition) for term in terms]
    through = any(term.through_denoiser for term in terms)

    def bare(x_t: Tensor, moment: Moment) -> Tensor:
        return prior.denoise(x_t, moment.t, condition)

    def denoise(x_t: Tensor, moment: Moment) -> Tensor:
        with torch.set_grad_enabled(through):
            noisy = x_t.detach().requires_grad_(through)
            x0 = checkpoint(bare, noisy, moment, use_reentrant=False) if through else bare(noisy, moment)
            for term in bound:
                x0 = term(noisy, moment, x0)
        return x0.detach()

    return denoise
