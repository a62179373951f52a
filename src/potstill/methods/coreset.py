"""Coresets: real images chosen class by class, in the features of a model, to stand for the rest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from potstill.core.progress import OnStep, silent
from potstill.data.real import RealData, require_per_class
from potstill.distilled import Slot
from potstill.methods.features import Features, load_features
from potstill.methods.method import Made

Rule = Callable[[Tensor, int], list[int]]
"""Features float64 [n, d] and a count to the rows chosen, first choice first; a larger count only adds rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KCenter:
    """Real images that leave no other image of their class far from a chosen one, see `farthest_first`.

    `features` names a CLIP or a trained net (`load_features`); `size` is the height and width in pixels, None
    takes the data set's own. The seed decides nothing.
    """

    kind: Literal["k-center"] = "k-center"
    features: str
    size: int | None = None

    def prepare(self, real: RealData, *, seed: int, images_per_class: int, device: str) -> "Coreset":
        """Loads the model; raises PotstillError where a class has too few images."""
        require_per_class(real, images_per_class)
        features = load_features(self.features, device)
        return Coreset(farthest_first, features, real, images_per_class, self.size or real.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Herding:
    """Real images whose mean follows the mean of their class, see `follow_mean`; settings as for `KCenter`."""

    kind: Literal["herding"] = "herding"
    features: str
    size: int | None = None

    def prepare(self, real: RealData, *, seed: int, images_per_class: int, device: str) -> "Coreset":
        """Loads the model; raises PotstillError where a class has too few images."""
        require_per_class(real, images_per_class)
        features = load_features(self.features, device)
        return Coreset(follow_mean, features, real, images_per_class, self.size or real.size)


def farthest_first(features: Tensor, count: int) -> list[int]:
    """Begins nearest to the mean, then always takes the row farthest from its nearest chosen row.

    Source: Sener and Savarese 2018 (arXiv:1708.00489), algorithm 1, k-Center-Greedy; Euclidean distances. Its
    radius is at most twice the smallest there is. Departs: the first centre, which the paper leaves to a set of
    labelled images, is the row nearest to the mean. No row is taken twice; of equals the first is.
    """
    chosen = [int(_distances(features, features.mean(0)).argmin())]
    nearest = _distances(features, features[chosen[0]])
    while len(chosen) < count:
        nearest[chosen[-1]] = -torch.inf
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, _distances(features, features[chosen[-1]]))
    return chosen


def follow_mean(features: Tensor, count: int) -> list[int]:
    """Always takes the row of `features` [n, d] that brings the mean of those taken nearest to the mean of all.

    Source: Welling 2009, "Herding dynamical weights to learn", in the form of Rebuffi et al. 2017
    (arXiv:1611.07725, algorithm 4): the k-th row minimises |mean - (its features + those taken before) / k|,
    which is its distance from k * mean - (those taken before). Departs: the features are taken as the model gives
    them, not scaled to unit length. No row is taken twice; of equals the first is.
    """
    mean = features.mean(0)
    taken = torch.zeros_like(mean)
    free = torch.zeros(len(features), dtype=features.dtype)
    chosen: list[int] = []
    while len(chosen) < count:
        goal = (len(chosen) + 1) * mean - taken
        chosen.append(int((_distances(features, goal) + free).argmin()))
        free[chosen[-1]] = torch.inf
        taken += features[chosen[-1]]
    return chosen


@dataclass(frozen=True)
class Coreset:
    """A rule and features made ready: a class is embedded and its images chosen when its first place is filled."""

    rule: Rule
    features: Features
    real: RealData
    count: int
    size: int
    order: dict[str, Sequence[int]] = field(default_factory=dict)

    @property
    def weights(self) -> Mapping[str, str]:
        """The model whose features are used."""
        return {self.features.name: self.features.fingerprint}

    def make(self, slots: Sequence[Slot], on_step: OnStep = silent) -> list[Made]:
        """The slots' real images, with where they come from; index 0 is the first choice."""
        for key in {slot.key: None for slot in slots if slot.key not in self.order}:
            rows = self.real.train.of_class(self.real.classes.index(key)).tolist()
            found = self.features.of(self.real.train, rows, on_step)
            self.order[key] = [rows[place] for place in self.rule(found, self.count)]
        chosen = [self.order[slot.key][slot.index] for slot in slots]
        images = self.real.train.pixels(chosen, self.size)
        return [
            Made(image, {"source": self.real.train.ids[row]})
            for image, row in zip(images, chosen, strict=True)
        ]


def _distances(features: Tensor, point: Tensor) -> Tensor:
    """Each row's Euclidean distance from a point, by differences: equal rows get equal distances."""
    return torch.cdist(features, point[None], compute_mode="donot_use_mm_for_euclid_dist")[:, 0]
