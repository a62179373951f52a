"""Validity, negatives and the concept space of a data set."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from potstill.concepts import NEGATIVES, ConceptBank, ConceptSpace, Vocabulary, validity
from potstill.concepts.check import check
from potstill.concepts.space import REAL_IMAGES, sample_of_class
from potstill.concepts.validity import most_valid
from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.data.digits import digits
from potstill.encoders import Encoder

SIMILARITY = torch.tensor([0.90, 0.80, -torch.inf, 0.85, 0.70])


def test_validity_is_equation_10(draw):
    images = F.normalize(torch.randn(30, 6, generator=draw), dim=1)
    phrases = F.normalize(torch.randn(4, 6, generator=draw), dim=1)
    center = images.double().mean(0)
    slow = [float(center @ phrase.double() / (center.norm() * phrase.double().norm())) for phrase in phrases]
    torch.testing.assert_close(validity(images, phrases).double(), torch.tensor(slow, dtype=torch.float64))
    assert most_valid(images, phrases, 2) == sorted(range(4), key=lambda row: -slow[row])[:2]


@pytest.mark.parametrize("policy", NEGATIVES)
def test_every_policy_draws_different_allowed_classes(policy, draw):
    for count in (1, 3, 4, 10):
        for _ in range(20):
            drawn = NEGATIVES[policy](SIMILARITY, count, draw)
            assert len(set(drawn)) == len(drawn) == min(count, 4)
            assert 2 not in drawn


def test_weighted_follows_the_standardised_similarity(draw):
    counts = Counter(NEGATIVES["weighted"](SIMILARITY, 1, draw)[0] for _ in range(8000))
    values = SIMILARITY[SIMILARITY.isfinite()].double()
    expected = ((values - values.mean()) / values.std(correction=0)).softmax(0)
    for place, share in zip((0, 1, 3, 4), expected, strict=True):
        assert counts[place] / 8000 == pytest.approx(float(share), abs=0.02)


def test_random_is_even_and_similar_is_the_nearest(draw):
    counts = Counter(NEGATIVES["random"](SIMILARITY, 1, draw)[0] for _ in range(8000))
    assert all(counts[place] / 8000 == pytest.approx(0.25, abs=0.02) for place in (0, 1, 3, 4))
    assert NEGATIVES["similar"](SIMILARITY, 2, draw) == [0, 3]


@pytest.fixture(scope="module")
def encoder(tiny_clip):
    return Encoder.from_pretrained(tiny_clip)


@pytest.fixture(scope="module")
def space(encoder, tiny_clip):
    return ConceptSpace.build(Vocabulary(bank="digits", encoder=tiny_clip), encoder, digits())


def test_a_space_keeps_the_most_valid_phrases(space, encoder):
    ranked = {row.key: row.phrases[:5] for row in check("digits", encoder, digits())}
    assert dict(zip(space.keys, space.phrases, strict=True)) == ranked
    assert space.texts.shape == (10, 5, 32)
    torch.testing.assert_close(space.texts.norm(dim=2), torch.ones(10, 5))


def test_the_images_looked_at_are_drawn_from_the_whole_class_by_the_class_alone():
    real = digits()
    rows, own = sample_of_class(real, 3), real.train.of_class(3).tolist()
    assert len(own) == 2 * REAL_IMAGES == 400
    assert len(set(rows)) == 200 and set(rows) <= set(own)
    assert 70 < len(set(rows) & set(own[200:])) < 130, "half of them are from the second half"
    alone = real.select(["3"])
    seen = [alone.train.ids[row] for row in sample_of_class(alone, 0)]
    assert seen == [real.train.ids[row] for row in rows]


def test_negatives_belong_to_the_image_alone(space):
    for label in range(10):
        drawn = space.negatives(label, generator(0, "negatives", str(label), 3))
        assert drawn == space.negatives(label, generator(0, "negatives", str(label), 3))
        classes = [other for other, _ in drawn]
        assert len(set(classes)) == len(classes) == 9 and label not in classes
    assert space.negatives(1, generator(0, "n", 1)) != space.negatives(1, generator(0, "n", 2))


def test_classes_of_one_name_never_lend_each_other_a_phrase(encoder, tiny_clip, tmp_path):
    bank = ConceptBank.load("digits")
    lines = (tmp_path / "twins.jsonl").with_suffix(".jsonl")
    bank.save(lines)
    lines.write_text(lines.read_text().replace('"handwritten nine", "look', '"handwritten four", "look'))
    vocabulary = Vocabulary(bank=str(lines), encoder=tiny_clip)
    built = ConceptSpace.build(vocabulary, encoder, digits())
    assert 9 not in [other for other, _ in built.negatives(4, generator(0))]
    assert len(built.negatives(4, generator(0))) == 8


def test_a_class_with_fewer_phrases_than_are_kept_is_named(encoder, tiny_clip, tmp_path):
    bank = ConceptBank.load("digits")
    entries = {
        key: replace(entry, concepts=entry.concepts[: 7 - int(key) // 2])
        for key, entry in bank.entries.items()
    }
    replace(bank, entries=entries).save(tmp_path / "short.jsonl")
    short = Vocabulary(bank=str(tmp_path / "short.jsonl"), encoder=tiny_clip)
    with pytest.raises(
        PotstillError, match=r"keep is 5, .* fewer phrases: 6 \(4\), 7 \(4\), 8 \(3\), 9 \(3\)\."
    ):
        ConceptSpace.build(short, encoder, digits())
    assert ConceptSpace.build(replace(short, keep=3), encoder, digits()).texts.shape == (10, 3, 32)


@pytest.mark.parametrize("wrong", [{"keep": 0}, {"keep": -1}, {"negatives": -1}])
def test_a_vocabulary_of_less_than_nothing_is_named(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(PotstillError, match=f"vocabulary.{name} must be at least [01], not {value}"):
        Vocabulary(bank="digits", encoder="digits/clip", **wrong)


def test_real_scores_are_quantiles_of_the_cosines(space):
    scores = space.real[3][:, 0]
    told = space.real_scores()["3"][space.phrases[3][0]]
    assert told == tuple(round(float(scores.quantile(level)), 4) for level in (0.05, 0.5, 0.95))
    below = (space.real[3].mean(1) < space.completeness(0.2)[3]).float().mean()
    assert below == pytest.approx(0.2, abs=0.01)


def test_an_unknown_policy_is_named(encoder, tiny_clip):
    with pytest.raises(PotstillError, match="unknown negatives policy 'wieghted'. Did you mean 'weighted'"):
        ConceptSpace.build(Vocabulary(bank="digits", encoder=tiny_clip, policy="wieghted"), encoder, digits())
