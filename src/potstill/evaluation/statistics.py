"""Means, spreads and intervals of a few numbers; fractions in, fractions out."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from potstill.core.errors import PotstillError

LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The mean of n paired differences, its confidence interval and their sample deviation.

    `low`, `high` and `deviation` are None for a single pair, which says nothing of its own spread.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    deviation: float | None


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


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float] | None:
    """The confidence interval of the mean by Student's t with n - 1 degrees; None for fewer than two values.

    Source: Student 1908, "The probable error of a mean". It takes the values as independent and near
    normal.
    """
    spread = deviation(values)
    if spread is None:
        return None
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, 0.5 + level / 2)) * spread / math.sqrt(len(values))
    return mean(values) - half, mean(values) + half


def paired(first: Sequence[float], second: Sequence[float], level: float = LEVEL) -> Difference:
    """`first` minus `second`, item by item: both lists are of the same sets (or seeds) in the same order.

    Raises PotstillError where the lists differ in length or are empty.
    """
    if len(first) != len(second):
        raise PotstillError(f"paired values must be equally many, not {len(first)} and {len(second)}")
    differences = [one - other for one, other in zip(first, second, strict=True)]
    low, high = interval(differences, level) or (None, None)
    return Difference(
        mean=mean(differences), low=low, high=high, n=len(differences), deviation=deviation(differences)
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


def paired_sets(first: Mapping[int, float], second: Mapping[int, float], level: float = LEVEL) -> Difference:
    """`first` minus `second` over sets of the same seed, as `by_set` gives them.

    Raises PotstillError where a set of one has no partner in the other.
    """
    alone = sorted(first.keys() ^ second.keys())
    if alone:
        raise PotstillError(f"sets without a partner of the same seed: {', '.join(map(str, alone))}")
    return paired([first[seed] for seed in first], [second[seed] for seed in first], level)
