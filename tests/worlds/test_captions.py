"""Captions are true of the digit they describe, and truth is the same as checked one by one."""

import numpy as np
import pytest

pytest.importorskip("skimage")
from worlds.digits.augment import train_pixels
from worlds.digits.captions import SHOWN_BY, WORDINGS, bank, caption, holds
from worlds.digits.strokes import facts


@pytest.fixture(scope="module")
def some():
    pixels, labels = train_pixels()
    rows = range(0, 4000, 160)
    return labels[list(rows)].numpy(), [facts(pixels[row, 0].numpy()) for row in rows]


def test_every_fact_has_words_and_every_claim_is_a_fact(some):
    named = set(some[1][0])
    assert set(WORDINGS) <= named
    assert {fact for claims in SHOWN_BY.values() for fact in claims} <= named


def test_measured_phrases_are_phrases_of_the_bank():
    assert set(SHOWN_BY) <= {phrase for _, phrases in bank() for phrase in phrases}


def test_a_caption_is_true_of_its_digit_and_repeatable(some):
    labels, seen = some
    told = [
        caption(int(label), fact, np.random.default_rng(place))
        for place, (label, fact) in enumerate(zip(labels, seen, strict=True))
    ]
    again = [
        caption(int(label), fact, np.random.default_rng(place))
        for place, (label, fact) in enumerate(zip(labels, seen, strict=True))
    ]
    assert told == again
    assert holds(told, labels, seen).diagonal().all()


def test_truth_of_all_pairs_is_the_truth_of_each(some):
    labels, seen = some
    draw = np.random.default_rng(0)
    told = [caption(int(label), fact, draw) for label, fact in zip(labels, seen, strict=True)]
    slow = [
        [one.label in (-1, label) and all(fact[claim] for claim in one.claims) for one in told]
        for label, fact in zip(labels, seen, strict=True)
    ]
    assert (holds(told, labels, seen) == np.array(slow)).all()
    assert not np.array(slow).all()
