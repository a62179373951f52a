"""Means, spreads and intervals of a few numbers; fractions in, fractions out."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from potstill.core.errors import PotstillError

LEVEL = 0.95

RESAMPLES = 9999

ROUNDING = 1e-12
"""Values that are closer are equal: differences of equal fractions are so only up to rounding."""

LEAST_RESAMPLED = 5
"""Values from which a bootstrap is given: of fewer, resamples are too few to reach into the tails."""

Bounds = Callable[[Sequence[float], float], tuple[float, float] | None]
"""Values and a level to the confidence interval of their mean; None where they are too few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The mean of n paired differences, its confidence interval and their sample deviation.

    `p` is the two-sided p-value of the paired t-test that the mean is zero. `deviation` is None for a single pair, `p`
    where the pairs show no spread (`shows_spread`), `low` and `high` where there is no interval.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    deviation: float | None
    p: float | None


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean; raises PotstillError for no values."""
    if not values:
        raise PotstillError("there are no values to take the mean of")
    return math.fsum(values) / len(values)


def deviation(values: Sequence[float]) -> float | None:
    """The sample standard deviation (n - 1); None for fewer than two values."""
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def shows_spread(values: Sequence[float]) -> bool:
    """Whether values tell how far such values lie apart: several that are not all equal, or all 0.

    Accuracies are counts of test images, and two or three of them are often equal by chance; taken at their word, their
    spread of 0 would make a gain of any difference. Differences that are all 0 tell that there is none.
    """
    return len(values) > 1 and (max(values) - min(values) > ROUNDING or not any(values))


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float] | None:
    """The confidence interval of the mean by Student's t with n - 1 degrees; None for values that show no spread.

    Source: Student 1908, "The probable error of a mean". It takes the values as independent and near
    normal.
    """
    spread = deviation(values)
    if spread is None or not shows_spread(values):
        return None
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, 0.5 + level / 2)) * spread / math.sqrt(len(values))
    return mean(values) - half, mean(values) + half


def accuracy_interval(accuracies: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of mean accuracy, cut to what an accuracy can be; None for one value."""
    found = interval(accuracies)
    return found and (max(0.0, found[0]), min(1.0, found[1]))


def bootstrap(
    values: Sequence[float], level: float = LEVEL, *, generator: torch.Generator
) -> tuple[float, float] | None:
    """The bias-corrected and accelerated bootstrap interval of the mean; None for fewer than `LEAST_RESAMPLED` values.

    None too for values that show no spread.

    Source: Efron 1987, "Better bootstrap confidence intervals", as scipy has it, with `RESAMPLES` resamples drawn
    from `generator`. It takes the values as independent, and not as normal. Below some twenty values it is
    narrower than it should be, where Student's t is not.
    """
    if len(values) < LEAST_RESAMPLED or not shows_spread(values):
        return None
    if not any(values):
        return 0.0, 0.0
    import numpy as np
    from scipy import stats

    draws = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    found = stats.bootstrap(
        (np.array(values),),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=level,
        method="BCa",
        rng=draws,
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def p_value(values: Sequence[float]) -> float | None:
    """The two-sided p-value of Student's t-test that the mean is zero; None for values that show no spread."""
    spread = deviation(values)
    if spread is None or not shows_spread(values):
        return None
    if not any(values):
        return 1.0
    from scipy.special import stdtr

    return 2 * float(stdtr(len(values) - 1, -abs(mean(values)) * math.sqrt(len(values)) / spread))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """P-values corrected for their number: at most a share `a` of families has a false one among those up to `a`.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure": the k-th smallest of m (k from 0)
    times m - k, never below the one before it, at most 1. It asks nothing of how the tests depend on each other,
    which share a baseline. They come back in the order given.
    """
    corrected = [0.0] * len(p_values)
    least = 0.0
    ascending = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, place in enumerate(ascending):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = least
    return tuple(corrected)


def paired(
    first: Sequence[float], second: Sequence[float], level: float = LEVEL, *, bounds: Bounds = interval
) -> Difference:
    """`first` minus `second`, item by item: both lists are of the same sets (or seeds) in the same order.

    Differences within `ROUNDING` count as 0. `bounds` makes the interval, Student's by default. Raises PotstillError
    where the lists differ in length or are empty.
    """
    if len(first) != len(second):
        raise PotstillError(f"paired values must be equally many, not {len(first)} and {len(second)}")
    found = (one - other for one, other in zip(first, second, strict=True))
    differences = [0.0 if abs(one) < ROUNDING else one for one in found]
    low, high = bounds(differences, level) or (None, None)
    return Difference(
        mean=mean(differences),
        low=low,
        high=high,
        n=len(differences),
        deviation=deviation(differences),
        p=p_value(differences),
    )


def by_set(results: Iterable[tuple[int, Sequence[float]]]) -> dict[int, float]:
    """One number a set: pairs of a set's seed and its students' accuracies to the mean over all its students.

    Students of one set are not independent looks at a method, for they share its images; sets are. So
    students are averaged first and sets are what is counted.
    """
    students: defaultdict[int, list[float]] = defaultdict(list)
    for seed, accuracies in results:
        students[seed].extend(accuracies)
    return {seed: mean(values) for seed, values in sorted(students.items())}


def paired_sets(
    first: Mapping[int, float],
    second: Mapping[int, float],
    level: float = LEVEL,
    *,
    bounds: Bounds = interval,
) -> Difference:
    """`first` minus `second` over sets of the same seed, as `by_set` gives them.

    Raises PotstillError where a set of one has no partner in the other.
    """
    alone = sorted(first.keys() ^ second.keys())
    if alone:
        raise PotstillError(f"sets without a partner of the same seed: {', '.join(map(str, alone))}")
    return paired([first[seed] for seed in first], [second[seed] for seed in first], level, bounds=bounds)
