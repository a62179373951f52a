"""The coordinates in which pixels are learned: normalised colours, or ZCA-whitened images."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.data.real import Split
from potstill.nets.layers import DEVIATION, MEAN

EPSILON = 0.1
"""Added to the covariance's eigenvalues, as in the public code of MTT."""
ROWS = 1024
LARGEST = 64


class Colours(Protocol):
    """An affine map between images [n, 3, size, size] around [0, 1] and what SGD moves."""

    def of(self, images: Tensor) -> Tensor:
        """Images to coordinates."""
        ...

    def images(self, values: Tensor) -> Tensor:
        """Coordinates to images."""
        ...


@dataclass(frozen=True, eq=False)
class Normalised:
    """Each channel less ImageNet's mean, by its deviation, as our nets have them."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def on(cls, device: str) -> "Normalised":
        """The published constants."""
        return cls(*(torch.tensor(values, device=device)[:, None, None] for values in (MEAN, DEVIATION)))

    def of(self, images: Tensor) -> Tensor:
        """Images to coordinates."""
        return (images - self.mean) / self.deviation

    def images(self, values: Tensor) -> Tensor:
        """Coordinates to images."""
        return values * self.deviation + self.mean


@dataclass(frozen=True, eq=False)
class Whitened:
    """ZCA: T (x - mean) with T = U diag((S + epsilon)^-1/2) U^T, of the images' covariance U diag(S) U^T.

    Source: Krizhevsky 2009, appendix A; epsilon 0.1 on values in [0, 1] as MTT (arXiv:2203.11932) has it. `mean`
    [3 * size * size], `matrix` and `inverse` its square.
    """

    mean: Tensor
    matrix: Tensor
    inverse: Tensor

    @classmethod
    def fitted(cls, split: Split, size: int, device: str) -> "Whitened":
        """From all images of a split; raises PotstillError for images above 64 px, whose matrices would not fit."""
        if size > LARGEST:
            raise PotstillError(
                f"ZCA whitening is for images of at most {LARGEST} px, not {size}: use colours=normalised"
            )
        width = 3 * size * size
        total = torch.zeros(width, dtype=torch.float64, device=device)
        products = torch.zeros(width, width, dtype=torch.float64, device=device)
        for rows in torch.arange(len(split)).split(ROWS):
            flat = (split.pixels(rows, size).to(device).flatten(1) / 255).double()
            total += flat.sum(0)
            products += flat.T @ flat
        mean = total / len(split)
        covariance = (products - len(split) * torch.outer(mean, mean)) / max(1, len(split) - 1)
        values, axes = torch.linalg.eigh(covariance)
        scales = (values.clamp(min=0) + EPSILON).sqrt()
        return cls(mean.float(), ((axes / scales) @ axes.T).float(), ((axes * scales) @ axes.T).float())

    def of(self, images: Tensor) -> Tensor:
        """Images to coordinates."""
        return ((images.flatten(1) - self.mean) @ self.matrix).view_as(images)

    def images(self, values: Tensor) -> Tensor:
        """Coordinates to images."""
        return (values.flatten(1) @ self.inverse + self.mean).view_as(values)
