"""Pixels themselves, whole or in tiles."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from potstill.canvas.canvas import Learned
from potstill.canvas.colours import Colours, Normalised, Whitened
from potstill.canvas.start import real_starts
from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.core.settings import require_allowed
from potstill.data.real import RealData
from potstill.distilled import Slot
from potstill.distilled.mosaic import folded, unfolded


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """Every pixel is learned, in the coordinates `colours`.

    Source: DC (Zhao et al. 2021, arXiv:2006.05929) begins from standard normal noise, its successors from real images.
    MTT (arXiv:2203.11932) learns ZCA-whitened images of CIFAR. Departs: there nets are trained on whitened images too;
    here they see ordinary ones, and whitening decides only how far a step goes in which direction.
    With `parts` above 1 it is IDM's partitioning (Zhao et al. 2023, arXiv:2307.09742): an image is parts x parts tiles,
    each begun from a real image of its own and enlarged to the whole where it is matched or trained on. Values may
    leave [0, 1]. `size` is the side in pixels; None takes the data set's own. Raises PotstillError where tiles do not
    fill the side, and for other values and rates out of range.
    """

    kind: Literal["pixels"] = "pixels"
    start: Literal["real", "noise"] = "real"
    colours: Literal["normalised", "zca"] = "normalised"
    rate: float = 0.1
    parts: int = 1
    size: int | None = None

    def __post_init__(self) -> None:
        require_allowed(self)
        if not 0 < self.rate < math.inf:
            raise PotstillError(f"the rate of pixels must be positive, not {self.rate}")

    def prepare(self, real: RealData, slots: Sequence[Slot], *, seed: int, device: str) -> "PixelSurface":
        """The start, drawn for each slot by itself."""
        size = self.size or real.size
        if self.parts < 1 or size % self.parts:
            raise PotstillError(f"images of {size} px cannot be cut into {self.parts} x {self.parts} tiles")
        colours = (
            Normalised.on(device)
            if self.colours == "normalised"
            else Whitened.fitted(real.train, size, device)
        )
        if self.start == "noise":
            draws = (generator(seed, "pixels", slot.key, slot.index) for slot in slots)
            begun = torch.stack([torch.randn(3, size, size, generator=draw) for draw in draws]).to(device)
        else:
            images = real_starts(real, slots, size=size, seed=seed, each=self.parts**2)
            begun = colours.of(folded(images, self.parts).to(device))
        return PixelSurface(begun.requires_grad_(), self.rate, self.parts, colours)


@dataclass(frozen=True, eq=False)
class PixelSurface:
    """Pixels made ready: coordinates [n, 3, size, size]."""

    pixels: Tensor
    rate: float
    parts: int
    colours: Colours

    @property
    def size(self) -> int:
        """The images' side, in pixels."""
        return self.pixels.shape[-1]

    @property
    def copies(self) -> int:
        """An image a tile."""
        return self.parts**2

    @property
    def weights(self) -> Mapping[str, str]:
        """None are used."""
        return {}

    @property
    def learned(self) -> Mapping[str, Learned]:
        """The pixels."""
        return {"pixels": Learned(self.pixels, self.rate)}

    def images(self, rows: slice) -> Tensor:
        """Tiles enlarged, one after the other."""
        return unfolded(self.colours.images(self.pixels[rows]), self.parts)

    @torch.no_grad()
    def kept(self, rows: slice) -> Tensor:
        """Whole images."""
        return self.colours.images(self.pixels[rows])
