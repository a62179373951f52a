import math

import pytest

from potstill.core.errors import PotstillError
from potstill.evaluation.statistics import paired
from potstill.report.compare import Versus, compare, differences, versus

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


def test_teachers_and_data_of_one_name_are_told_apart_where_they_are_known(evaluation):
    old = evaluation("a", [0.5])
    known = [evaluation("b", [0.6], teacher_sha256=sha * 64, data_sha256="d" * 64) for sha in "tu"]
    assert [row.name for row in rows([old, known[0]]).rows] == ["a", "b"]
    assert rows([old, known[0]]).teacher == "convnet-3"
    found = compare([old, *known])
    assert [one.teacher for one in found] == [
        f"convnet-3 ({sha})" for sha in ("tttttttt", "unknown", "uuuuuuuu")
    ]
    moved = compare([known[0], evaluation("a", [0.5], teacher_sha256="t" * 64, data_sha256="e" * 64)])
    assert [one.data for one in moved] == ["digits (dddddddd)", "digits (eeeeeeee)"]


def test_looks_at_the_test_images_make_no_other_evaluation(evaluation):
    plain, looked = evaluation("a", [0.5, 0.6]), evaluation("a", [0.5, 0.6], best=[0.7, 0.8])
    assert rows([plain, looked]).row("a").best == pytest.approx(0.75)
    assert rows([plain, evaluation("a", [0.5], best=[0.7])]).row("a").runs == 2
    with pytest.raises(PotstillError, match="two different evaluations"):
        compare([plain, evaluation("a", [0.5, 0.7], best=[0.7, 0.8])])


def against(evaluation, gaps_by_name, intervals="t"):
    """Differences from a baseline at 50 % of names with the gaps given, a set seed each."""
    most = max(map(len, gaps_by_name.values()))
    made = [evaluation("base", [0.5], set_seed=seed) for seed in range(most)]
    for name, gaps in gaps_by_name.items():
        made += [evaluation(name, [0.5 + gap], set_seed=seed) for seed, gap in enumerate(gaps)]
    comparison = rows(made)
    return differences(comparison.rows, comparison.row("base"), intervals)


def test_p_values_are_corrected_for_the_differences_beside_them(evaluation):
    # Paired t-tests by hand, t = mean / (deviation / sqrt(3)): 2 / 0.5774 = 3.464 and 1 / 0.1 = 10 on 2 degrees.
    gaps = {"near": [0.01, 0.02, 0.03], "far": [0.1, 0.1 + 3**0.5 / 100, 0.1 - 3**0.5 / 100], "alone": [0.2]}
    found = against(evaluation, gaps)
    assert found["near"].difference.p == pytest.approx(0.0742, abs=1e-4)
    assert found["far"].difference.p == pytest.approx(0.00985, abs=1e-4)
    assert found["far"].corrected == pytest.approx(2 * found["far"].difference.p)
    assert found["near"].corrected == pytest.approx(found["near"].difference.p)
    assert (found["alone"].corrected, found["alone"].verdict) == (None, "undecided")
    assert "base" not in found


def test_a_gain_that_correction_takes_away_says_so(evaluation):
    gaps = [0.02, 0.03, 0.08, 0.05]
    alone = against(evaluation, {"a": gaps})["a"]
    assert alone.verdict == "gain" and alone.difference.p == pytest.approx(0.0426, abs=1e-3)
    crowd = against(evaluation, {"a": gaps, "b": [-0.1, 0.2, 0.1, -0.1], "c": [-gap for gap in gaps]})
    assert crowd["a"].verdict == "gain before correction"
    assert crowd["c"].verdict == "loss before correction"
    assert crowd["b"].verdict == "no gain"


def test_correction_never_makes_a_gain_of_an_interval_that_holds_zero():
    assert Versus(paired([0.1, -0.1, 0.02], [0.0, 0.0, 0.0]), "sets", 0.0).verdict == "no gain"


def test_bootstrap_intervals_are_inside_the_differences(evaluation):
    gaps = [0.01, 0.02, 0.00, 0.03, 0.04, 0.02]
    by_t = against(evaluation, {"a": gaps})["a"].difference
    resampled = against(evaluation, {"a": gaps}, "bootstrap")["a"].difference
    assert resampled == against(evaluation, {"a": gaps}, "bootstrap")["a"].difference
    assert 0.00 < resampled.low < resampled.mean < resampled.high < 0.04
    assert by_t.low < resampled.low and resampled.high < by_t.high
    assert (by_t.mean, by_t.p) == (resampled.mean, resampled.p)
    few = against(evaluation, {"a": gaps[:3]}, "bootstrap")["a"]
    assert few.verdict == "undecided"
