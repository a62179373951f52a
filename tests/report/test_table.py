import random
from pathlib import Path

import pytest

from potstill.core.errors import PotstillError
from potstill.report.table import table

GOLDEN = Path(__file__).with_name("table.golden.md")


def three_sets(evaluation, name, middle, gaps=(0.0, 0.0, 0.0), **options):
    return [
        evaluation(name, [middle + step + gap - 0.01, middle + step + gap + 0.01], set_seed=seed, **options)
        for seed, (step, gap) in enumerate(zip((-0.01, 0.0, 0.01), gaps, strict=True))
    ]


@pytest.fixture
def evaluations(evaluation):
    return [
        *three_sets(evaluation, "random", 0.94, (-0.001, 0.0, 0.001), method="random"),
        *three_sets(evaluation, "dit", 0.91),
        *three_sets(evaluation, "concord", 0.93, (-0.002, 0.0, 0.002)),
        *three_sets(evaluation, "noise", 0.91, (-0.02, 0.0, 0.02)),
        evaluation("dit", [0.80], protocol="rded@1*", settings={"epochs": 3}),
        evaluation("concord | wide", [0.81], protocol="rded@1*", settings={"epochs": 3}),
    ]


def test_the_whole_text(evaluations):
    assert table(evaluations, baseline="dit") == GOLDEN.read_text(encoding="utf-8")
    assert table(iter(evaluations), baseline="dit") == table(evaluations, baseline="dit")


def test_the_order_of_files_does_not_matter(evaluations):
    shuffled = list(evaluations)
    random.Random(0).shuffle(shuffled)
    assert table(shuffled, baseline="dit") == table(evaluations, baseline="dit")


def test_without_a_baseline_there_are_no_verdicts(evaluation):
    text = table([evaluation("a", [0.5, 0.6]), evaluation("b", [0.7])])
    assert "minus" not in text and "says" not in text
    assert "| 1 set x 2 |" in text


def test_the_method_of_intervals_is_told_once(evaluations):
    for intervals, words in (("t", "Student's t"), ("bootstrap", "BCa bootstrap")):
        text = table(evaluations, baseline="dit", intervals=intervals)
        assert text.count("Intervals of differences") == 1 and words in text and "corrected by Holm" in text


def test_what_correction_takes_away_beside_random_real(evaluation):
    made = [evaluation("dit", [0.5], set_seed=seed) for seed in range(4)]
    for name, kind in (("random", "random"), ("other", "guided")):
        gaps = [0.02, 0.03, 0.08, 0.05]
        made += [evaluation(name, [0.5 + gap], set_seed=seed, method=kind) for seed, gap in enumerate(gaps)]
    text = table(made, baseline="dit")
    assert "| above before correction |" in text and "| gain before correction  |" in text


def test_an_unknown_baseline_is_named(evaluation):
    with pytest.raises(PotstillError, match="unknown baseline 'dat'.*Did you mean 'dit'"):
        table([evaluation("dit", [0.5])], baseline="dat")


def test_equal_differences_are_no_gain(evaluation):
    """Two sets that are both better by exactly as much say nothing of how much that differs between sets."""
    sets = [
        evaluation(name, [middle], set_seed=seed)
        for name, middle in (("a", 0.9), ("b", 0.91))
        for seed in (0, 1)
    ]
    (line,) = [line for line in table(sets, baseline="a").splitlines() if line.startswith("| b")]
    assert [cell.strip() for cell in line.split("|")][5:9] == ["-", "+1.0, 2 sets", "-", "undecided"]


def test_no_evaluations_make_no_table():
    assert table([]) == ""


def test_the_papers_habit_is_a_column_that_says_so(evaluation):
    asked = [
        evaluation("dit", [0.80, 0.82], best=[0.85, 0.89]),
        evaluation("concord", [0.81, 0.83]),
    ]
    text = table(asked, baseline="dit")
    head, _, *rows = (line.split("|") for line in text.splitlines() if line.startswith("|"))
    column = [cell.strip() for cell in head].index("best look on test %")
    assert [row[column].strip() for row in rows] == ["87.0", "-"]
    assert "chosen on test" in text
    assert "best look" not in table(asked[1:])
