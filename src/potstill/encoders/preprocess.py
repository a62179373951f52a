"""The Hugging Face CLIP image processor's arithmetic, differentiable from pixels."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


class _ClampForward(torch.autograd.Function):
    """Clamps to [0, 1] going forward, hands the gradient through untouched going back."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor) -> Tensor:
        return pixels.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


@dataclass(frozen=True, slots=True)
class Preprocess:
    """Pixels in [0, 1] to an encoder's input: short side resized, centre crop, per-channel normalisation.

    The processor resizes columns and rows in two passes and clamps after each, and so does this. Departs in that
    nothing is rounded to 8 bits in between (the results agree within 1e-2 of the pixel range,
    tests/encoders/test_clip.py), and that clamping lets the gradient pass: a pixel that a decoder puts at -0.01
    can still be pushed up.
    """

    short_side: int
    crop: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, processor: Any) -> "Preprocess":
        """Reads the numbers of a `CLIPImageProcessor`."""
        size, crop = dict(processor.size), dict(processor.crop_size)
        short_side = size.get("shortest_edge") or size["height"]
        return cls(
            short_side,
            (crop["height"], crop["width"]),
            tuple(processor.image_mean),
            tuple(processor.image_std),
        )

    def __call__(self, pixels: Tensor) -> Tensor:
        """Maps [n, 3, h, w] in [0, 1] to [n, 3, *crop]."""
        height, width = pixels.shape[-2:]
        scale = self.short_side / min(height, width)
        if scale != 1:
            size = (max(int(height * scale), self.short_side), max(int(width * scale), self.short_side))
            for target in ((height, size[1]), size):
                pixels = F.interpolate(pixels, target, mode="bicubic", antialias=True, align_corners=False)
                pixels = _ClampForward.apply(pixels)
        pixels = _ClampForward.apply(pixels)
        top, left = (pixels.shape[-2] - self.crop[0]) // 2, (pixels.shape[-1] - self.crop[1]) // 2
        pixels = pixels[..., top : top + self.crop[0], left : left + self.crop[1]]
        mean, std = (pixels.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (pixels - mean) / std
