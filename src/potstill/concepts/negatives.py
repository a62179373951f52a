"""Which other classes lend a phrase that an image must not fit."""

import torch
from torch import Tensor

from potstill.core.table import Table

NEGATIVES = Table(
    "negatives policy",
    {
        "weighted": "potstill.concepts.negatives:weighted",
        "random": "potstill.concepts.negatives:uniform",
        "similar": "potstill.concepts.negatives:similar",
    },
)


def weighted(similarity: Tensor, count: int, draw: torch.Generator) -> list[int]:
    """Draws `count` different classes, the more similar the likelier.

    Source: CONCORD, section 3.3. Departs: cosines between class names are all large and nearly equal, so as raw
    weights they mean next to nothing; here the weight is exp(z), z being the similarity standardised over the
    candidate classes: a class one standard deviation closer than another is e times as likely.
    `similarity` [candidates] may hold -inf for classes that must not be drawn.
    """
    allowed = similarity.isfinite()
    values = similarity[allowed].double()
    spread = values.std(correction=0).clamp_min(1e-12)
    weights = torch.zeros_like(similarity, dtype=torch.float64)
    weights[allowed] = ((values - values.mean()) / spread).exp()
    return _without_replacement(weights, count, draw)


def uniform(similarity: Tensor, count: int, draw: torch.Generator) -> list[int]:
    """Draws `count` different classes, each as likely as the other."""
    return _without_replacement(similarity.isfinite().double(), count, draw)


def similar(similarity: Tensor, count: int, draw: torch.Generator) -> list[int]:
    """Takes the `count` most similar classes, always the same; `draw` is not used."""
    order = similarity.argsort(descending=True, stable=True)
    return [int(position) for position in order if similarity[position].isfinite()][:count]


def _without_replacement(weights: Tensor, count: int, draw: torch.Generator) -> list[int]:
    available = min(count, int((weights > 0).sum()))
    return torch.multinomial(weights, available, generator=draw).tolist() if available else []
