import math

import pytest

from potstill.core.errors import PotstillError
from potstill.report.compare import compare, versus

# Student's t at 97.5 % for 2, 3 and 4 degrees of freedom, from printed tables.
T = {2: 4.3027, 3: 3.1824, 4: 2.7764}


def rows(evaluations):
    (comparison,) = compare(evaluations)
    return comparison


def test_groups_by_what_makes_numbers_comparable(evaluation):
    made = [
        evaluation("a", [0.5]),
        evaluation("b", [0.5]),
        evaluation("a", [0.5], ipc=10),
        evaluation("a", [0.5], protocol="hard@1", teacher=None),
        evaluation("a", [0.5], protocol="rded@1*", settings={"epochs": 3}),
        evaluation("a", [0.5], student="resnet-18"),
    ]
    found = compare(made)
    assert sorted(len(one.rows) for one in found) == [1, 1, 1, 1, 2]
    assert compare(reversed(made)) == found


def test_a_lone_set_counts_students(evaluation):
    row = rows([evaluation("a", [0.90, 0.91, 0.95])]).rows[0]
    assert row.unit == "students"
    assert row.mean == pytest.approx(0.92)
    assert row.deviation == pytest.approx(math.sqrt((0.02**2 + 0.01**2 + 0.03**2) / 2))
    half = T[2] * row.deviation / math.sqrt(3)
    assert row.interval == pytest.approx((0.92 - half, 0.92 + half), abs=1e-5)


def test_an_interval_stays_within_what_accuracies_can_be(evaluation):
    assert rows([evaluation("a", [0.1, 0.9])]).rows[0].interval == (0.0, 1.0)


def test_several_sets_count_sets_and_students_are_averaged_first(evaluation):
    made = [evaluation("a", [0.8 + 0.01 * seed, 0.9 + 0.01 * seed], set_seed=seed) for seed in range(4)]
    row = rows(made).rows[0]
    assert (row.unit, row.runs) == ("sets", 8)
    assert row.values == pytest.approx((0.85, 0.86, 0.87, 0.88))


def test_differences_are_paired_by_set(evaluation):
    gaps = [0.01, 0.02, 0.00, 0.03, 0.04]
    made = [evaluation("a", [0.5 + 0.1 * seed], set_seed=seed) for seed in range(5)]
    made += [evaluation("b", [0.5 + 0.1 * seed + gap], set_seed=seed) for seed, gap in enumerate(gaps)]
    made += [evaluation("b", [0.1], set_seed=9)]
    comparison = rows(made)
    found = versus(comparison.row("b"), comparison.row("a"))
    assert found is not None and (found.unit, found.difference.n) == ("sets", 5)
    spread = math.sqrt(sum((gap - 0.02) ** 2 for gap in gaps) / 4)
    half = T[4] * spread / math.sqrt(5)
    assert found.difference.mean == pytest.approx(0.02)
    interval = found.difference.low, found.difference.high
    assert interval == pytest.approx((0.02 - half, 0.02 + half), abs=1e-5)
    assert found.verdict == "gain"


def test_differences_of_one_set_each_are_paired_by_student(evaluation):
    comparison = rows([evaluation("a", [0.5, 0.6, 0.7]), evaluation("b", [0.69, 0.58], seeds=[2, 1])])
    found = versus(comparison.row("b"), comparison.row("a"))
    assert found is not None and (found.unit, found.difference.n) == ("students", 2)
    assert found.difference.mean == pytest.approx(-0.015)


def test_sets_of_different_seeds_are_not_paired(evaluation):
    comparison = rows([evaluation("a", [0.5, 0.6]), evaluation("b", [0.5, 0.6], set_seed=8)])
    assert versus(comparison.row("b"), comparison.row("a")) is None


@pytest.mark.parametrize(
    ("gaps", "word"),
    [
        ([0.1, 0.11, 0.1], "gain"),
        ([-0.1, -0.11, -0.1], "loss"),
        ([0.1, -0.1, 0.01], "no gain"),
        ([0.1], "undecided"),
    ],
)
def test_the_interval_decides_the_verdict(evaluation, gaps, word):
    made = [evaluation("a", [0.5], set_seed=seed) for seed in range(len(gaps))]
    made += [evaluation("b", [0.5 + gap], set_seed=seed) for seed, gap in enumerate(gaps)]
    comparison = rows(made)
    found = versus(comparison.row("b"), comparison.row("a"))
    assert found is not None and found.verdict == word


def test_the_same_evaluation_twice_counts_once(evaluation):
    assert rows([evaluation("a", [0.5, 0.6])] * 2).rows[0].runs == 2


def test_two_evaluations_of_one_set_are_refused(evaluation):
    with pytest.raises(PotstillError, match="two different evaluations of 'a', set seed 7, under rded@1"):
        compare([evaluation("a", [0.5]), evaluation("a", [0.6])])
