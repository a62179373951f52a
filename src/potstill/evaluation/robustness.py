"""DD-Ranking's scores: how much of an accuracy is owed to the images, and how much to labels and augmentation.

Source: "DD-Ranking: Rethinking the Evaluation of Dataset Distillation", as coded in version 0.2.0. Departs:
accuracies are fractions everywhere, which its map into [0, 1] presumes; the public code feeds per cent, so that
whatever is five points worse than its rival gets the same score and what is better leaves the range. Accuracies are
those of the last epoch, not the best on test images. Random images are trained on with the very settings of the set,
where the public code searches learning rates for one of the two.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from potstill.core.errors import PotstillError
from potstill.evaluation import statistics
from potstill.evaluation.record import Evaluation

WEIGHT = 0.5


@dataclass(frozen=True, slots=True)
class Condition:
    """What students are trained on: the set, random real images of the same number, or all real images.

    `labels` are the protocol's own or classes alone; `augmented` is whether the protocol's augmentation is on.
    """

    images: Literal["set", "random", "full"]
    labels: Literal["own", "hard"] = "own"
    augmented: bool = True

    @property
    def label(self) -> str:
        """In words, for example "random, hard labels"."""
        labels = ", hard labels" if self.labels == "hard" else ""
        return f"{self.images}{labels}{'' if self.augmented else ', no augmentation'}"


SET, RANDOM = Condition("set"), Condition("random")
SET_HARD, FULL_HARD = Condition("set", "hard"), Condition("full", "hard")
SET_PLAIN, RANDOM_PLAIN = Condition("set", augmented=False), Condition("random", augmented=False)


def hard_label_recovery(full: float, distilled: float) -> float:
    """What a set loses to all real images, both with hard labels: lower is better, in [-1, 1]."""
    return full - distilled


def improvement_over_random(distilled: float, random: float) -> float:
    """What a set gains over random real images under the same protocol: higher is better, in [-1, 1]."""
    return distilled - random


def label_robust_score(improvement: float, recovery: float, weight: float = WEIGHT) -> float:
    """`unit_score` of weight * improvement over random - (1 - weight) * hard label recovery."""
    return unit_score(weight * improvement - (1 - weight) * recovery)


def augmentation_robust_score(augmented: float, plain: float, weight: float = WEIGHT) -> float:
    """`unit_score` of the improvements over random with and without augmentation, the first by `weight`."""
    return unit_score(weight * augmented + (1 - weight) * plain)


def unit_score(value: float) -> float:
    """[-1, 1] to [0, 1]: (exp(value) - 1/e) / (e - 1/e), so that 0, no better than random, is at 0.269.

    Raises PotstillError outside of [-1, 1], where a percentage ends up.
    """
    if not -1 <= value <= 1:
        raise PotstillError(f"scores are made of accuracies as fractions, which do not add up to {value:g}")
    return (math.exp(value) - math.exp(-1)) / (math.e - math.exp(-1))


@dataclass(frozen=True, slots=True)
class Score:
    """A score by its title, the trainings it is made from, and how: from their accuracies and a weight."""

    title: str
    needs: tuple[Condition, ...]
    value: Callable[[Mapping[Condition, float], float], float]


def _recovery(accuracy: Mapping[Condition, float], weight: float) -> float:
    return hard_label_recovery(accuracy[FULL_HARD], accuracy[SET_HARD])


def _improvement(accuracy: Mapping[Condition, float], weight: float) -> float:
    return improvement_over_random(accuracy[SET], accuracy[RANDOM])


def _label_robust(accuracy: Mapping[Condition, float], weight: float) -> float:
    return label_robust_score(_improvement(accuracy, weight), _recovery(accuracy, weight), weight)


def _augmentation_robust(accuracy: Mapping[Condition, float], weight: float) -> float:
    plain = improvement_over_random(accuracy[SET_PLAIN], accuracy[RANDOM_PLAIN])
    return augmentation_robust_score(_improvement(accuracy, weight), plain, weight)


SCORES: Mapping[str, Score] = {
    "lrs": Score("label-robust score", (SET, RANDOM, SET_HARD, FULL_HARD), _label_robust),
    "ars": Score("augmentation-robust score", (SET, RANDOM, SET_PLAIN, RANDOM_PLAIN), _augmentation_robust),
    "hlr": Score("hard label recovery", (SET_HARD, FULL_HARD), _recovery),
    "ior": Score("improvement over random", (SET, RANDOM), _improvement),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A score of a set: one value for each student seed, whose students of all trainings are taken together."""

    score: str
    values: Mapping[int, float]

    @property
    def mean(self) -> float:
        """The mean over student seeds."""
        return statistics.mean(tuple(self.values.values()))

    @property
    def deviation(self) -> float | None:
        """The sample deviation over student seeds; None for one."""
        return statistics.deviation(tuple(self.values.values()))


def measure(score: str, evaluations: Mapping[Condition, Evaluation], weight: float = WEIGHT) -> Measured:
    """A score from finished trainings: students are paired by seed, and seeds that not all trainings have left out.

    Raises PotstillError for a weight outside of [0, 1] and where trainings have no seed in common.
    """
    if not 0 <= weight <= 1:
        raise PotstillError(f"the weight of a score must be in [0, 1], not {weight}")
    chosen = SCORES[score]
    found = {
        one: {run.seed: run.accuracy for run in evaluations[one].runs} for one in dict.fromkeys(chosen.needs)
    }
    seeds = sorted(set.intersection(*(set(runs) for runs in found.values())))
    if not seeds:
        raise PotstillError(f"the trainings of {score!r} have no student seed in common")
    values = {seed: chosen.value({one: runs[seed] for one, runs in found.items()}, weight) for seed in seeds}
    return Measured(score=score, values=values)
