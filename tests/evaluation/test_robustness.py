"""DD-Ranking's numbers by its definitions, with accuracies as fractions."""

import math

import pytest

from potstill.core.errors import PotstillError
from potstill.evaluation.record import Evaluation, Run
from potstill.evaluation.robustness import (
    FULL_HARD,
    RANDOM,
    RANDOM_PLAIN,
    SCORES,
    SET,
    SET_HARD,
    SET_PLAIN,
    Condition,
    augmentation_robust_score,
    hard_label_recovery,
    improvement_over_random,
    label_robust_score,
    measure,
    unit_score,
)


def trained(*accuracies: float, first_seed: int = 0) -> Evaluation:
    runs = tuple(
        Run(seed=seed, accuracy=accuracy, top5=1.0, seconds=1.0, train_loss=0.1)
        for seed, accuracy in enumerate(accuracies, start=first_seed)
    )
    return Evaluation(
        name="a",
        set_seed=0,
        method="m",
        data="d",
        ipc=1,
        protocol="p@1",
        student="s",
        teacher=None,
        runs=runs,
    )


@pytest.mark.parametrize(
    ("value", "score"),
    [(-1, 0.0), (0, 0.26894), (1, 1.0), (-0.4, 0.1287), (-0.2, 0.1918), (-0.05, 0.2482), (0.05, 0.2908)],
)
def test_published_fixed_points(value: float, score: float) -> None:
    assert unit_score(value) == pytest.approx(score, abs=5e-5)


def test_scores_by_hand() -> None:
    # Full 90, set 60 by hard labels; set 70, random 50 by its own: HLR 30, IOR 20, alpha = 0.1 - 0.15 = -0.05.
    recovery, improvement = hard_label_recovery(0.9, 0.6), improvement_over_random(0.7, 0.5)
    assert (recovery, improvement) == (pytest.approx(0.3), pytest.approx(0.2))
    assert label_robust_score(improvement, recovery) == pytest.approx(0.2482, abs=5e-5)
    # Without augmentation 20 above random: beta = 0.2 whatever the weight.
    assert augmentation_robust_score(0.2, 0.2) == augmentation_robust_score(0.2, 0.2, 0.1)
    expected = (math.exp(0.25 * 0.2 + 0.75 * 0.4) - math.exp(-1)) / (math.exp(1) - math.exp(-1))
    assert augmentation_robust_score(0.2, 0.4, 0.25) == pytest.approx(expected)


def test_percentages_are_refused() -> None:
    with pytest.raises(PotstillError, match="fractions.*-5"):
        label_robust_score(20.0, 30.0)


def test_a_set_as_good_as_all_images_and_one_worse_than_everything() -> None:
    best = {SET: 1.0, RANDOM: 0.0, SET_HARD: 1.0, FULL_HARD: 1.0}
    assert SCORES["lrs"].value(best, 1.0) == pytest.approx(1)
    worst = {SET: 0.0, RANDOM: 1.0, SET_HARD: 0.0, FULL_HARD: 1.0}
    assert SCORES["lrs"].value(worst, 0.5) == pytest.approx(0)


def test_students_are_paired_by_seed_and_spread_is_of_their_scores() -> None:
    done = {
        SET: trained(0.7, 0.8, 0.75),
        RANDOM: trained(0.5, 0.5, 0.65, 0.1),
        SET_PLAIN: trained(0.4, 0.6, 0.5),
        RANDOM_PLAIN: trained(0.3, 0.4, 0.4),
    }
    found = measure("ior", done)
    assert found.values == pytest.approx({0: 0.2, 1: 0.3, 2: 0.1})
    assert (found.mean, found.deviation) == (pytest.approx(0.2), pytest.approx(0.1))
    robust = measure("ars", done)
    by_hand = [unit_score(0.5 * one + 0.5 * other) for one, other in ((0.2, 0.1), (0.3, 0.2), (0.1, 0.1))]
    assert list(robust.values.values()) == pytest.approx(by_hand)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_a_weight_is_that_of_the_first_part(weight: float) -> None:
    done = {
        SET: trained(0.7),
        RANDOM: trained(0.5),
        SET_PLAIN: trained(0.6),
        RANDOM_PLAIN: trained(0.5),
        SET_HARD: trained(0.4),
        FULL_HARD: trained(0.8),
    }
    robust, labels = (measure(score, done, weight).mean for score in ("ars", "lrs"))
    assert robust == pytest.approx(unit_score(weight * 0.2 + (1 - weight) * 0.1))
    assert labels == pytest.approx(unit_score(weight * 0.2 - (1 - weight) * 0.4))


def test_what_cannot_be_scored() -> None:
    with pytest.raises(PotstillError, match="no student seed in common"):
        measure("ior", {SET: trained(0.7), RANDOM: trained(0.5, first_seed=1)})
    with pytest.raises(PotstillError, match=r"\[0, 1\], not 1.5"):
        measure("ior", {SET: trained(0.7), RANDOM: trained(0.5)}, 1.5)


def test_conditions_in_words() -> None:
    assert [one.label for one in (SET, FULL_HARD, RANDOM_PLAIN)] == [
        "set",
        "full, hard labels",
        "random, no augmentation",
    ]
    assert Condition("set") == SET
