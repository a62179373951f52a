"""Against hand-worked numbers and a published paired comparison."""

import functools
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.evaluation.statistics import (
    bootstrap,
    by_set,
    deviation,
    holm,
    interval,
    mean,
    p_value,
    paired,
    paired_sets,
)

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


def test_p_values_are_scipys_paired_t_test() -> None:
    expected = stats.ttest_rel(FIRST, SECOND)
    difference = paired(FIRST, SECOND)
    assert difference.p == pytest.approx(expected.pvalue, rel=1e-12)
    assert difference.p == pytest.approx(0.002832890, abs=1e-9)  # R's t.test(paired = TRUE) of `sleep`
    bounds = expected.confidence_interval(0.95)
    assert (difference.low, difference.high) == (pytest.approx(bounds.low), pytest.approx(bounds.high))


def test_p_values_without_spread() -> None:
    """Equal values are no proof that there is no spread, but for differences of 0, which are none."""
    for told in ([0.5], [0.25, 0.25], [0.1, 0.3 - 0.2, 0.1]):
        assert p_value(told) is None and interval(told) is None
    assert p_value([0.0, 0.0]) == 1 and interval([0.0, 0.0]) == (0, 0)
    assert bootstrap([0.0] * 6, generator=generator("ties")) == (0, 0)


@pytest.mark.parametrize("sets", [2, 3, 5])
def test_accuracies_on_few_test_images_make_no_false_gains(sets: int) -> None:
    """Twenty arms without a difference, on 500 test images: after Holm a false one in a twentieth of tables at most."""
    draws, wrong, families = np.random.default_rng(sets), 0, 300
    for _ in range(families):
        accuracies = np.round(500 * (0.8 + draws.normal(0, 0.007, (21, sets)))) / 500
        found = [paired(one.tolist(), accuracies[0].tolist()) for one in accuracies[1:]]
        corrected = holm([one.p for one in found if one.p is not None])
        wrong += any(p <= 0.05 for p in corrected)
    assert wrong / families <= 0.05 + 3 * (0.05 * 0.95 / families) ** 0.5


def test_holm_by_hand() -> None:
    # 3 x 0.01; then 2 x 0.03; then 1 x 0.04, which is raised to the one before it.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx((0.06, 0.03, 0.06))
    assert holm([0.5, 0.9]) == (1.0, 1.0)
    assert holm([0.02]) == (0.02,)
    assert holm([]) == ()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_of_bonferroni(p_values: list[float]) -> None:
    """A hypothesis falls when every set of hypotheses that holds it falls to Bonferroni's test of that set."""
    places = range(len(p_values))
    families = [
        family for size in range(1, len(p_values) + 1) for family in itertools.combinations(places, size)
    ]
    expected = [
        max(
            min(1.0, len(family) * min(p_values[one] for one in family))
            for family in families
            if place in family
        )
        for place in places
    ]
    assert holm(p_values) == pytest.approx(tuple(expected), rel=1e-12, abs=1e-15)


def exact_bca(values: tuple[float, ...], level: float) -> tuple[float, float]:
    """Efron's interval from all n^n resamples, by the equations: nothing is drawn."""
    n, centre = len(values), mean(values)
    means = np.sort([mean(resample) for resample in itertools.product(values, repeat=n)])
    below = ((means < centre - 1e-12).mean() + (means < centre + 1e-12).mean()) / 2
    bias = stats.norm.ppf(below)
    without = [mean([*values[:place], *values[place + 1 :]]) for place in range(n)]
    gaps = [mean(without) - value for value in without]
    speed = sum(gap**3 for gap in gaps) / (6 * sum(gap**2 for gap in gaps) ** 1.5)
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        shifted = bias + stats.norm.ppf(tail)
        ends.append(float(np.quantile(means, stats.norm.cdf(bias + shifted / (1 - speed * shifted)))))
    return ends[0], ends[1]


@pytest.mark.parametrize("values", [(0.1, 0.4, 0.2, 0.9, 0.3, 0.35), (-0.02, 0.01, 0.03, 0.011, 0.05)])
def test_the_bootstrap_is_the_exact_interval_of_all_resamples(values: tuple[float, ...]) -> None:
    low, high = bootstrap(values, 0.9, generator=generator("bootstrap")) or (0, 0)
    expected = exact_bca(values, 0.9)
    tolerance = 0.03 * (expected[1] - expected[0])
    assert (low, high) == (
        pytest.approx(expected[0], abs=tolerance),
        pytest.approx(expected[1], abs=tolerance),
    )


def test_the_bootstrap_depends_on_its_generator_alone() -> None:
    values = (0.1, 0.4, 0.2, 0.9, 0.3)
    first, again, other = (bootstrap(values, generator=generator(name)) for name in ("a", "a", "b"))
    assert first == again != other


def test_too_few_and_equal_values_to_resample() -> None:
    assert bootstrap([0.1, 0.2, 0.3, 0.4], generator=generator("a")) is None
    assert bootstrap([0.3 - 0.1, 0.2, 0.4 - 0.2, 0.5 - 0.3, 0.2], generator=generator("a")) is None


def test_paired_takes_the_interval_it_is_given() -> None:
    bounds = functools.partial(bootstrap, generator=generator("sleep"))
    difference = paired(FIRST, SECOND, bounds=bounds)
    gaps = [one - other for one, other in zip(FIRST, SECOND, strict=True)]
    assert (difference.low, difference.high) == bootstrap(gaps, generator=generator("sleep"))
    assert difference.p == paired(FIRST, SECOND).p


def test_rounding_is_no_gain() -> None:
    """0.1 + 0.2 is 0.30000000000000004."""
    first, second = [0.1 + 0.2] * 3, [0.3] * 3
    assert first != second
    found = paired(first, second)
    assert (found.mean, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)
