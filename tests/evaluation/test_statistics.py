"""Against hand-worked numbers and a published paired comparison."""

import math

import pytest

from potstill.core.errors import PotstillError
from potstill.evaluation.statistics import by_set, deviation, interval, mean, paired, paired_sets

# Student 1908, hours of sleep that ten patients gained with two drugs; R's t.test(paired = TRUE) of `sleep`.
FIRST = (0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0)
SECOND = (1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4)


def test_students_sleep_data() -> None:
    difference = paired(FIRST, SECOND)
    assert (difference.mean, difference.n) == (pytest.approx(-1.58), 10)
    assert difference.low == pytest.approx(-2.4598858, abs=1e-7)
    assert difference.high == pytest.approx(-0.7001142, abs=1e-7)
    assert difference.deviation == pytest.approx(1.229995, abs=1e-6)


def test_by_hand() -> None:
    values = (2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0)
    assert mean(values) == 5
    assert deviation(values) == pytest.approx(math.sqrt(32 / 7))
    low, high = interval((1.0, 3.0)) or (0, 0)
    assert (low, high) == (pytest.approx(2 - 12.7062047), pytest.approx(2 + 12.7062047))


@pytest.mark.parametrize(
    ("n", "level", "quantile"),
    [(3, 0.95, 4.30265), (5, 0.99, 4.60409), (11, 0.90, 1.81246), (31, 0.95, 2.04227)],
)
def test_printed_quantiles_of_t(n: int, level: float, quantile: float) -> None:
    values = [float(value) for value in range(n)]
    low, high = interval(values, level) or (0, 0)
    spread = deviation(values)
    assert spread is not None
    assert (high - low) / 2 / (spread / math.sqrt(n)) == pytest.approx(quantile, abs=5e-6)


def test_one_value_has_no_spread() -> None:
    assert deviation([0.5]) is None
    assert interval([0.5]) is None
    single = paired([0.5], [0.25])
    assert (single.mean, single.low, single.high, single.deviation, single.n) == (0.25, None, None, None, 1)


def test_sets_are_counted_not_students() -> None:
    ours = by_set([(1, [0.9, 0.8]), (0, [0.6]), (1, [0.4])])
    theirs = by_set([(0, [0.5, 0.5]), (1, [0.6])])
    assert ours == {0: pytest.approx(0.6), 1: pytest.approx(0.7)}
    assert list(ours) == [0, 1]
    difference = paired_sets(ours, theirs)
    assert (difference.mean, difference.n) == (pytest.approx(0.1), 2)
    assert difference.deviation == pytest.approx(0, abs=1e-12)


def test_pairs_follow_the_seed_and_not_the_order() -> None:
    difference = paired_sets({0: 0.1, 1: 0.9}, {1: 0.8, 0: 0.0})
    assert difference.deviation == pytest.approx(0, abs=1e-12)


def test_what_cannot_be_paired() -> None:
    with pytest.raises(PotstillError, match="not 2 and 1"):
        paired([1.0, 2.0], [1.0])
    with pytest.raises(PotstillError, match="same seed: 0, 3"):
        paired_sets({0: 0.1, 1: 0.2}, {1: 0.1, 3: 0.2})
    with pytest.raises(PotstillError, match="no values"):
        paired([], [])
