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
    """A guidance term."""

    @property
    def through_denoiser(self) -> bool:
        """Whether the term differentiates the clean latent by the noisy one, and needs the graph between them."""
        ...

    @property
    def runs_denoiser(self) -> bool:
        """Whether the term runs the denoiser and does nothing that can't be computed again."""
        ...

    @property
    def images(self) -> int | None:
        """How many images the term aims at; None is any number."""
        ...

    def bind(self, prior: Prior, condition: Condition) -> Bound:
        """The term made ready for one batch: a function that may remember what it did at earlier steps."""
        ...


@dataclass
class GuidedDenoiser:
    """A prior's denoiser for one batch, bent by terms from left to right; with no terms the bare denoiser.

    Where a term differentiates through the denoiser, every pass of it is checkpointed: activations are computed again
    on the way back instead of being kept. `spread` is what the network said of its variance at the last call, see
    `Prior.see`.
    """

    prior: Prior
    condition: Condition
    bound: Sequence[Bound]
    through: bool
    spread: Tensor | None = None

    def __call__(self, x_t: Tensor, moment: Moment) -> Tensor:
        """The clean latent."""
        with torch.set_grad_enabled(self.through):
            noisy = x_t.detach().requires_grad_(self.through)
            x0 = (
                checkpoint(self._bare, noisy, moment, use_reentrant=False)
                if self.through
                else self._bare(noisy, moment)
            )
            for term in self.bound:
                x0 = term(noisy, moment, x0)
        return x0.detach()

    def _bare(self, x_t: Tensor, moment: Moment) -> Tensor:
        x0, spread = self.prior.see(x_t, moment.t, self.condition)
        self.spread = None if spread is None else spread.detach()
        return x0


def guided(prior: Prior, condition: Condition, terms: Sequence[Term]) -> GuidedDenoiser:
    """A prior's denoiser for one batch, bent by terms."""
    through = any(term.through_denoiser for term in terms)
    bound = [term.bind(prior, condition) for term in terms]
    if through:
        pairs = zip(terms, bound, strict=True)
        bound = [_checkpointed(one) if term.runs_denoiser else one for term, one in pairs]
    return GuidedDenoiser(prior, condition, bound, through)


def _checkpointed(bound: Bound) -> Bound:
    def again(x_t: Tensor, moment: Moment, x0: Tensor) -> Tensor:
        return checkpoint(bound, x_t, moment, x0, use_reentrant=False)

    return again
