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
        *three_sets(evaluation, "random", 0.94, method="random"),
        *three_sets(evaluation, "dit", 0.91),
        *three_sets(evaluation, "concord", 0.93, (-0.002, 0.0, 0.002)),
        *three_sets(evaluation, "noise", 0.91, (-0.02, 0.0, 0.02)),
        evaluation("dit", [0.80], protocol="rded@1*", settings={"epochs": 3}),
        evaluation("concord | wide", [0.81], protocol="rded@1*", settings={"epochs": 3}),
    ]


def test_the_whole_text(evaluations):
    assert table(evaluations, baseline="dit") == GOLDEN.read_text(encoding="utf-8")


def test_the_order_of_files_does_not_matter(evaluations):
    shuffled = list(evaluations)
    random.Random(0).shuffle(shuffled)
    assert table(shuffled, baseline="dit") == table(evaluations, baseline="dit")


def test_without_a_baseline_there_are_no_verdicts(evaluation):
    text = table([evaluation("a", [0.5, 0.6]), evaluation("b", [0.7])])
    assert "minus" not in text and "says" not in text
    assert "| 1 set x 2 |" in text


def test_an_unknown_baseline_is_named(evaluation):
    with pytest.raises(PotstillError, match="unknown baseline 'dat'.*Did you mean 'dit'"):
        table([evaluation("dit", [0.5])], baseline="dat")


def test_no_evaluations_make_no_table():
    assert table([]) == ""
