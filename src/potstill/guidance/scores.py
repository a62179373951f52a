"""How well images fit their class: one number an image, larger is better, differentiable from pixels.

Legend: n images, k concepts to show, m concepts not to show, d the encoder's width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from potstill.core.table import Table
from potstill.encoders import Encoder
from potstill.guidance.terms import Targets

OBJECTIVES = Table(
    "concept objective",
    {
        "cosine": "potstill.guidance.scores:cosine",
        "contrastive": "potstill.guidance.scores:contrastive",
        "contrastive-apart": "potstill.guidance.scores:contrastive_apart",
    },
)

IGNORE_NEGATIVES = ("cosine",)
"""The objectives that negatives do not enter."""


def cosine(positive: Tensor, negative: Tensor, temperature: float) -> Tensor:
    """The mean cosine to the concepts to show; the negatives and the temperature do not enter.

    Source: CONCORD, Eq. 11. Departs: the paper prints a loss and adds its gradient, which taken literally repels;
    this is that loss with its sign turned, a score to ascend. `positive` [n, k] cosines; returns [n] in [-1, 1].
    """
    return positive.mean(1)


def contrastive(positive: Tensor, negative: Tensor, temperature: float) -> Tensor:
    """The mean log-probability of each concept to show among itself and the concepts not to show.

    Source: CONCORD, Eq. 12, with the sign turned as in `cosine`. `positive` [n, k] and `negative` [n, m] are
    cosines; returns [n] in (-inf, 0].
    """
    own = positive / temperature
    others = (negative / temperature).logsumexp(1, keepdim=True)
    return (own - torch.logaddexp(own, others)).mean(1)


def contrastive_apart(positive: Tensor, negative: Tensor, temperature: float) -> Tensor:
    """`contrastive` with the positive left out of the denominator, so that it never saturates.

    Source: what appears to be the authors' sampler, left in the public code of D3HR; its
    temperature is 0.05. Returns [n], unbounded.
    """
    return (positive / temperature).mean(1) - (negative / temperature).logsumexp(1)


class Score(Protocol):
    """A differentiable judge of images."""

    def __call__(self, pixels: Tensor, targets: Targets) -> Tensor:
        """One number an image [n] for pixels [n, 3, h, w] around [0, 1]."""
        ...


@dataclass(frozen=True, slots=True)
class ConceptScore:
    """An objective on the cosines between images and their concepts."""

    encoder: Encoder
    objective: Callable[[Tensor, Tensor, float], Tensor]
    temperature: float

    def __call__(self, pixels: Tensor, targets: Targets) -> Tensor:
        """The objective for each image."""
        assert targets.positives is not None and targets.negatives is not None
        embedded = self.encoder.images(pixels)[:, None]
        positive, negative = ((embedded * texts).sum(2) for texts in (targets.positives, targets.negatives))
        return self.objective(positive, negative, self.temperature)


@dataclass(frozen=True, slots=True)
class MeanCosine:
    """The mean cosine between an image and its concepts: what completeness is measured by."""

    encoder: Encoder

    def __call__(self, pixels: Tensor, targets: Targets) -> Tensor:
        """The mean cosine for each image."""
        assert targets.positives is not None
        return (self.encoder.images(pixels)[:, None] * targets.positives).sum(2).mean(1)


@dataclass(frozen=True, slots=True)
class ClassifierScore:
    """The log-probability that a classifier gives an image's class.

    Source: Dhariwal and Nichol 2021 (arXiv:2105.05233), section 4. Departs: the classifier sees the decoded clean
    image where the look says so, and not a network trained on noisy ones.
    """

    classifier: Callable[[Tensor], Tensor]

    def __call__(self, pixels: Tensor, targets: Targets) -> Tensor:
        """The log-probability for each image."""
        return self.classifier(pixels).log_softmax(1).gather(1, targets.labels[:, None])[:, 0]
