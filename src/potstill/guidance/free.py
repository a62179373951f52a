"""Classifier-free guidance."""

from dataclasses import dataclass

import torch
from torch import Tensor

from potstill.guidance.terms import Bound, Moment
from potstill.priors import Condition, Prior


@dataclass(frozen=True, slots=True)
class ClassifierFree:
    """Moves the clean latent away from what the prior sees without its condition.

    Source: Ho and Salimans 2022 (arXiv:2207.12598), written on clean latents, on which it is the same linear map:
    x0 <- x0_null + scale (x0 - x0_null), on the channels that the prior has guided. At scale 1 nothing is computed and
    the latent is returned as it is.
    """

    scale: float

    @property
    def through_denoiser(self) -> bool:
        """Never: the term only adds a second pass."""
        return False

    @property
    def runs_denoiser(self) -> bool:
        """Whether there is a second pass."""
        return self.scale != 1

    @property
    def images(self) -> None:
        """Any number."""
        return None

    def bind(self, prior: Prior, condition: Condition) -> Bound:
        """The term for one batch."""
        if self.scale == 1:
            return lambda x_t, moment, x0: x0
        null = prior.null_condition(condition)

        def term(x_t: Tensor, moment: Moment, x0: Tensor) -> Tensor:
            unconditional = prior.denoise(x_t, moment.t, null)
            moved = unconditional + self.scale * (x0 - unconditional)
            count = prior.guided_channels
            return moved if count is None else torch.cat([moved[:, :count], x0[:, count:]], 1)

        return term
