"""What images show, against counts made by hand."""

import math

import pytest
import torch

from potstill.concepts import ConceptSpace, Vocabulary
from potstill.data.digits import digits
from potstill.encoders import Encoder
from potstill.evaluation.shown import shown


@pytest.fixture(scope="module")
def judged(tiny_clip):
    encoder, real = Encoder.from_pretrained(tiny_clip), digits().select(["1", "6", "8"])
    return (
        encoder,
        ConceptSpace.build(Vocabulary(bank="digits", encoder=tiny_clip, keep=3), encoder, real),
        real,
    )


def teacher(pixels):
    logits = torch.zeros(len(pixels), 3)
    logits[:, 1] = 2.0
    return logits


def test_a_slow_count_agrees(judged):
    encoder, space, real = judged
    rows = [*real.test.of_class(0)[:4].tolist(), *real.test.of_class(1)[:3].tolist()]
    images, labels = real.test.pixels(rows, 32), real.test.labels[rows]
    found = shown(images, labels, encoder=encoder, space=space, teacher=teacher)
    seen = encoder.images(images.float() / 255).double()
    every, scores = 0, []
    for embedding, label in zip(seen, labels.tolist(), strict=True):
        own = [float(embedding @ text.double()) for text in space.texts[label]]
        every += all(
            score >= float(space.real[label][:, place].quantile(0.05)) - 1e-6
            for place, score in enumerate(own)
        )
        scores += own
    pairs = [float(1 - seen[i] @ seen[j]) for i in range(4) for j in range(4) if i != j]
    others = [float(1 - seen[i] @ seen[j]) for i in range(4, 7) for j in range(4, 7) if i != j]
    assert found.every == pytest.approx(every / 7)
    assert found.score == pytest.approx(sum(scores) / len(scores), abs=1e-5)
    assert found.spread == pytest.approx((sum(pairs) / 12 + sum(others) / 6) / 2, abs=1e-5)
    assert found.right == pytest.approx(3 / 7) and found.n == 7
    share = math.exp(2) / (math.exp(2) + 2)
    assert found.sure == pytest.approx((3 * share + 4 * (1 - share) / 2) / 7), "in each image's own class"


def test_one_image_a_class_has_no_spread(judged):
    encoder, space, real = judged
    rows = [int(real.test.of_class(label)[0]) for label in range(3)]
    images = real.test.pixels(rows, 32)
    assert shown(images, torch.arange(3), encoder=encoder, space=space, teacher=teacher).spread is None


def test_most_real_images_show_every_concept(judged):
    encoder, space, real = judged
    rows = real.train.of_class(2)[:100].tolist()
    found = shown(
        real.train.pixels(rows, 32), torch.full((100,), 2), encoder=encoder, space=space, teacher=teacher
    )
    assert found.every > 0.8
