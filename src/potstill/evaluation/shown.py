"""Whether images show what real images of their class show: the claim of concept informing, measured."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from potstill.concepts import ConceptSpace
from potstill.concepts.spread import spread
from potstill.core.blocks import in_blocks
from potstill.encoders import Encoder

RANGE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What an encoder and a teacher see in a set's images.

    every: the share of images that show every concept: each scores at least what 95 per cent of real images of the
    class reach. score: the mean cosine to the concepts. spread: the mean of 1 - cosine over pairs of images of a class,
    None for one image a class. right: the share that the teacher names right; sure: its mean confidence in
    an image's own class.
    """

    every: float
    score: float
    spread: float | None
    right: float
    sure: float
    n: int


@torch.no_grad()
def shown(
    images: Tensor,
    labels: Tensor,
    *,
    encoder: Encoder,
    space: ConceptSpace,
    teacher: Callable[[Tensor], Tensor],
) -> Shown:
    """Measures images, uint8 [n, 3, h, w], of classes `labels` [n] by one encoder and one teacher."""
    pixels, labels = images.float().to(encoder.device) / 255, labels.to(encoder.device)
    embedded = in_blocks(encoder.images, pixels)
    scores = (embedded[:, None] * space.texts[labels]).sum(2)
    floors = torch.stack([seen.quantile(RANGE, dim=0) for seen in space.real])[labels]
    sure = in_blocks(teacher, pixels).softmax(1)
    return Shown(
        every=float((scores >= floors).all(1).float().mean()),
        score=float(scores.mean()),
        spread=_mean_spread(embedded, labels),
        right=float((sure.argmax(1) == labels).float().mean()),
        sure=float(sure.gather(1, labels[:, None]).mean()),
        n=len(images),
    )


def _mean_spread(embedded: Tensor, labels: Tensor) -> float | None:
    found = [spread(embedded[labels == label]) for label in labels.unique()]
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known else None
