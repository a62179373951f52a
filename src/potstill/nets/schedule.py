"""How the learning rate of an epoch follows from its number: factors on the rate that a training starts with."""

import math
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """A rule for the learning rate."""

    def factor(self, epoch: int, epochs: int) -> float:
        """What the rate is multiplied by in an epoch (0-based) of so many."""
        ...

    def restarts(self, epoch: int, epochs: int) -> bool:
        """Whether the optimiser forgets its momentum before an epoch."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosine:
    """0.5 (1 + cos(pi share epoch / epochs)): a share of 0.5 ends at half of the rate, 1 at 0, 0 keeps it."""

    share: float = 1.0

    def factor(self, epoch: int, epochs: int) -> float:
        """The factor of an epoch."""
        return 0.5 * (1 + math.cos(math.pi * self.share * epoch / epochs))

    def restarts(self, epoch: int, epochs: int) -> bool:
        """Never."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Drops:
    """Multiplies the rate by `by` at shares of the epochs, rounded down, and `late` epochs after that.

    With `restart` the optimiser is made anew at each drop, as the matching papers do.
    """

    at: tuple[float, ...]
    by: float
    late: int = 0
    restart: bool = False

    def factor(self, epoch: int, epochs: int) -> float:
        """The factor of an epoch."""
        return self.by ** sum(epoch >= drop for drop in self._epochs(epochs))

    def restarts(self, epoch: int, epochs: int) -> bool:
        """At each drop, with `restart`."""
        return self.restart and epoch in self._epochs(epochs)

    def _epochs(self, epochs: int) -> list[int]:
        return [int(share * epochs) + self.late for share in self.at]


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmCosine:
    """From 0 up to the whole rate in a straight line over a share of the epochs, then down to 0 by a cosine."""

    warm: float = 0.5

    def factor(self, epoch: int, epochs: int) -> float:
        """The factor of an epoch."""
        turn = int(self.warm * epochs)
        if epoch < turn:
            return epoch / turn
        return 0.5 * (1 + math.cos(math.pi * (epoch - turn) / (epochs - turn)))

    def restarts(self, epoch: int, epochs: int) -> bool:
        """Never."""
        return False
