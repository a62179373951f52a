"""A teacher's logits in a few bits: principal components, bits where the variance is, the best levels for each."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

MOST_BITS = 8
ROUNDS = 200


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Codec:
    """How logits [n, c] become `bits.sum()` bits each, and back.

    A softmax does not change where a constant is added to all logits, so these are centred over the classes first.
    At a high temperature the divergence between two softmaxes is near half the squared distance of their centred
    logits, divided by the classes and the squared temperature (its second-order term); the code that keeps the
    squared error least is then the best one: components of the covariance (Eckart & Young 1936), one more bit at a
    time to the component with most error left (a bit quarters it), and for each component the levels that minimise
    the squared error (Lloyd 1982, Max 1960). `basis` is [c, r], `bits` int64 [r], and `levels` float32
    [r, 2 ** MOST_BITS] holds the 2 ** bits values of each component, ascending, then infinities.
    """

    mean: Tensor
    basis: Tensor
    bits: Tensor
    levels: Tensor

    @classmethod
    def fit(cls, logits: Tensor, bits: int) -> "Codec":
        """The codec of `bits` bits a row that serves rows like these best, [n, c] in float32; it draws nothing."""
        centred = logits.double() - logits.double().mean(1, keepdim=True)
        mean = centred.mean(0)
        _, singular, rows = torch.linalg.svd(centred - mean, full_matrices=False)
        rank = min(len(singular), logits.shape[1] - 1)
        given = _allocate(singular[:rank].square(), bits)
        used = int((given > 0).sum())
        basis, given = rows[:used].T, given[:used]
        values = (centred - mean) @ basis
        levels = torch.full((used, 2**MOST_BITS), torch.inf)
        for place in range(used):
            found = _lloyd(values[:, place], 2 ** int(given[place]))
            levels[place, : len(found)] = found.float()
        return cls(mean=mean.float(), basis=basis.float(), bits=given, levels=levels)

    @property
    def width(self) -> int:
        """Bits a row."""
        return int(self.bits.sum())

    def encode(self, logits: Tensor) -> np.ndarray:
        """Logits [n, c] to bytes, rows side by side without gaps, the last byte filled up with zeros."""
        centred = logits - logits.mean(1, keepdim=True)
        values = (centred - self.mean) @ self.basis
        columns = []
        for place, count in enumerate(self.bits.tolist()):
            levels = self.levels[place, : 2**count]
            middles = (levels[1:] + levels[:-1]) / 2
            codes = torch.bucketize(values[:, place].contiguous(), middles).numpy().astype(np.uint8)
            columns.append(np.unpackbits(codes[:, None], axis=1)[:, 8 - count :])
        return np.packbits(np.concatenate(columns, axis=1).reshape(-1))

    def decode(self, packed: np.ndarray, first: int, count: int) -> Tensor:
        """Rows `first` to `first + count` of what `encode` packed, as centred logits [count, c]."""
        start, stop = first * self.width, (first + count) * self.width
        bits = np.unpackbits(packed[start // 8 : -(-stop // 8)])[start % 8 :][: stop - start]
        rows = bits.reshape(count, self.width)
        values = torch.empty(count, len(self.bits))
        place = 0
        for component, width in enumerate(self.bits.tolist()):
            weights = 1 << np.arange(width - 1, -1, -1)
            codes = rows[:, place : place + width] @ weights
            values[:, component] = self.levels[component, torch.from_numpy(codes)]
            place += width
        return values @ self.basis.T + self.mean


def _allocate(variance: Tensor, bits: int) -> Tensor:
    """How many bits each component gets: the next one always goes where most error is left."""
    left, given = variance.clone(), torch.zeros(len(variance), dtype=torch.int64)
    for _ in range(bits):
        place = int(torch.where(given < MOST_BITS, left, -torch.inf).argmax())
        if given[place] == MOST_BITS:
            break
        given[place] += 1
        left[place] /= 4
    return given


def _lloyd(values: Tensor, count: int) -> Tensor:
    """At most `count` levels, ascending, that are each the mean of the values nearest to them."""
    ordered = values.sort().values
    levels = ordered.quantile((torch.arange(count, dtype=torch.float64) + 0.5) / count).unique()
    sums = torch.cat([torch.zeros(1, dtype=torch.float64), ordered.cumsum(0)])
    for _ in range(ROUNDS):
        inner = torch.searchsorted(ordered, (levels[1:] + levels[:-1]) / 2)
        edges = torch.cat([torch.zeros(1, dtype=torch.int64), inner, torch.tensor([len(ordered)])])
        members = edges.diff()
        means = sums[edges].diff() / members.clamp(min=1)
        levels = torch.where(members > 0, means, levels)
    return levels
