"""A teacher's logits in a few bits: principal components, dithered steps, entropy coding."""

import math
from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
import torch
from torch import Tensor

from potstill.core.errors import PotstillError

STREAM: Any = constriction.stream  # pyright: ignore[reportAttributeAccessIssue]
LIMIT = 2047
"""Steps that a component may lie from its mean; what is farther is moved there."""

OFFSETS = (-0.375, -0.125, 0.125, 0.375)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Codec:
    """How logits [n, c] of views with class shares [n, c] become some bits each, and back.

    A softmax does not change where a constant is added to all logits, so these are centred over the classes. What the
    shares foretell of them is subtracted (`means` [c, c], one row a class, by least squares), the rest is turned into
    principal components (`basis` [c, r], with their `deviation` [r]) and each is rounded to a multiple of `step`.

    A student sees an image in many views and learns the mean of what it is told. The code must therefore be right
    on average, before it is near each time: the rounding is dithered, a uniform draw is added before it and
    subtracted when it is read (Roberts 1962, Schuchman 1964), so that the error is uniform whatever the logits are.
    Its price is at most 0.25 bit a component (Ziv 1985). Components that vary less than that error are left out, as
    reverse water-filling does (Cover & Thomas, 10.3.3). The integers are coded by asymmetric numeral systems (Duda
    2009, arXiv:0902.0271, as the library constriction has them), each by a normal variable that its draw has moved.
    """

    means: Tensor
    basis: Tensor
    deviation: Tensor
    step: float

    @classmethod
    def fit(cls, logits: Tensor, shares: Tensor, bits: float) -> "Codec":
        """The codec that takes about `bits` bits a row of rows like these, float32 [n, c]; it draws nothing."""
        centred = logits.double() - logits.double().mean(1, keepdim=True)
        means = torch.linalg.lstsq(shares.double(), centred, driver="gelsd").solution.half()
        rest = centred - shares.double() @ means.double()
        _, singular, rows = torch.linalg.svd(rest, full_matrices=False)
        rank = min(len(singular), logits.shape[1] - 1)
        deviation, basis = singular[:rank] / math.sqrt(len(rest)), rows[:rank].T.half()
        values = rest @ basis.double()
        low, high = values.abs().max().item() / LIMIT, 4 * deviation[0].item()
        for _ in range(40):
            middle = math.sqrt(low * high)
            kept = _kept(deviation, middle)
            low, high = (
                (middle, high) if _cost(values[:, :kept], deviation[:kept], middle) > bits else (low, middle)
            )
        kept = _kept(deviation, high)
        return cls(
            means=means.float(),
            basis=basis[:, :kept].float(),
            deviation=deviation[:kept].float(),
            step=torch.tensor(high).float().item(),
        )

    @property
    def components(self) -> int:
        """The components that are kept: dither has as many columns."""
        return self.basis.shape[1]

    def encode(self, logits: Tensor, shares: Tensor, dither: Tensor) -> np.ndarray:
        """Rows to 32-bit words; `dither` is uniform in [-0.5, 0.5), [n, `components`]."""
        centred = logits - logits.mean(1, keepdim=True)
        values = (centred - shares @ self.means) @ self.basis
        steps = (values / self.step + dither).round().clamp(-LIMIT, LIMIT)
        coder = STREAM.stack.AnsCoder()
        coder.encode_reverse(steps.int().numpy().reshape(-1), *self._model(dither))
        return coder.get_compressed()

    def decode(self, words: np.ndarray, dither: Tensor) -> Tensor:
        """The components [n, `components`] of all rows of what `encode` made with the same dither.

        Raises PotstillError where the words are of another dither or codec, or were changed.
        """
        coder = STREAM.stack.AnsCoder(words)
        steps = torch.from_numpy(coder.decode(*self._model(dither))).view(dither.shape)
        if not coder.is_empty():
            raise PotstillError("the labels are broken, or were written by another machine's arithmetic")
        return (steps - dither) * self.step

    def logits(self, components: Tensor, shares: Tensor) -> Tensor:
        """Centred logits [n, c] from components and class shares."""
        return components @ self.basis.to(components).T + shares @ self.means.to(components)

    def _model(self, dither: Tensor) -> tuple[Any, np.ndarray, np.ndarray]:
        spread = (self.deviation.double() / self.step).expand(dither.shape)
        return (
            STREAM.model.QuantizedGaussian(-LIMIT, LIMIT),
            dither.double().numpy().reshape(-1),
            spread.numpy().reshape(-1),
        )


def _kept(deviation: Tensor, step: float) -> int:
    """How many components vary more than the error of rounding, step^2 / 12; at least one."""
    return max(int((deviation.square() > step**2 / 12).sum()), 1)


def _cost(values: Tensor, deviation: Tensor, step: float) -> float:
    """Mean bits a row, -log2 of the probabilities that the coder uses, over four places of the dither."""
    total = 0.0
    for offset in OFFSETS:
        shifted = values / step + offset
        edges = ((shifted + half) * step / deviation for half in (0.5, -0.5))
        upper, lower = (torch.special.ndtr(edge) for edge in edges)
        total += -(upper - lower).clamp(min=2**-24).log2().sum(1).mean().item()
    return total / len(OFFSETS)
