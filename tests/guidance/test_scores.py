"""Scores against CONCORD's Eq. 11 and 12 written out in loops in float64, and a classifier's by hand."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from potstill.encoders import Encoder
from potstill.guidance import Targets
from potstill.guidance.scores import OBJECTIVES, ClassifierScore, ConceptScore, MeanCosine

TEMPERATURE = 0.05


def slow(name: str, positive: list[float], negative: list[float]) -> float:
    """One image's score: from its cosines to the concepts to show, and to those not to show."""
    own, others = ([math.exp(value / TEMPERATURE) for value in row] for row in (positive, negative))
    terms = {
        "cosine": positive,
        "contrastive": [math.log(one / (one + sum(others))) for one in own],
        "contrastive-apart": [math.log(one / sum(others)) for one in own],
    }[name]
    return sum(terms) / len(terms)


def texts(draw: torch.Generator, count: int, width: int) -> Tensor:
    return F.normalize(torch.randn(3, count, width, generator=draw), dim=2)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_are_the_equations(name: str, draw: torch.Generator) -> None:
    positive, negative = (torch.rand(4, count, generator=draw).double() - 0.3 for count in (5, 7))
    wanted = [slow(name, *rows) for rows in zip(positive.tolist(), negative.tolist(), strict=True)]
    assert OBJECTIVES[name](positive, negative, TEMPERATURE).tolist() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_score_is_the_objective_of_the_cosines_to_each_images_own_concepts(
    name: str, tiny_clip: str, draw: torch.Generator
) -> None:
    encoder, pixels = Encoder.from_pretrained(tiny_clip), torch.rand(3, 3, 32, 32, generator=draw)
    width = encoder.images(pixels).shape[1]
    show, hide = texts(draw, 5, width), texts(draw, 2, width)
    targets = Targets(torch.zeros(3, dtype=torch.int64), positives=show, negatives=hide)
    found = ConceptScore(encoder, OBJECTIVES[name], TEMPERATURE)(pixels, targets)
    plain = MeanCosine(encoder)(pixels, targets)
    for image, embedded in enumerate(encoder.images(pixels).double()):
        own, others = (
            [float(embedded @ text) for text in kind[image].double()] for kind in (targets.positives, hide)
        )
        assert found[image].item() == pytest.approx(slow(name, own, others), rel=1e-4)
        assert plain[image].item() == pytest.approx(sum(own) / 5, rel=1e-4)


def test_a_classifiers_score_is_the_log_probability_of_the_class(draw: torch.Generator) -> None:
    pixels, labels = torch.rand(4, 3, 2, 2, generator=draw), torch.tensor([2, 0, 1, 2])
    found = ClassifierScore(lambda images: 9 * images.mean((2, 3)))(pixels, Targets(labels))
    for score, image, label in zip(found.tolist(), pixels.double(), labels.tolist(), strict=True):
        logits = [9 * float(channel.mean()) for channel in image]
        wanted = logits[label] - math.log(sum(math.exp(value) for value in logits))
        assert score == pytest.approx(wanted, rel=1e-5)
