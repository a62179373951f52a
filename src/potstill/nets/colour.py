"""Random changes of colour of a whole batch, each image with its own draws from a generator."""

from dataclasses import dataclass

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)

VALUES = (0.2175, 0.0188, 0.0045)
VECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
"""Principal components of ImageNet's colours in [0, 1]: Krizhevsky et al. 2012, section 4.1, as commonly listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Jitter:
    """Brightness, contrast and saturation, each by a factor in 1 plus or minus `strength`, in random order.

    Source: the hard-label validation of Minimax diffusion (strength 0.4). An image is mixed with black, with its
    own mean grey and with its own grey version; one order is drawn for the batch. Nothing is clipped, as there.
    """

    strength: float = 0.4

    def __call__(self, images: Tensor, shares: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images [n, 3, h, w], recoloured."""
        for kind in torch.randperm(3, generator=generator).tolist():
            draw = torch.rand(len(images), generator=generator)
            factor = (1 + self.strength * (2 * draw - 1)).to(images)[:, None, None, None]
            images = torch.lerp(_reference(images, kind), images, factor)
        return images, shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Lighting:
    """Adds one colour to a whole image: ImageNet's principal components, each times N(0, `strength`).

    Source: Krizhevsky et al. 2012, "ImageNet classification with deep CNNs", section 4.1; strength 0.1.
    """

    strength: float = 0.1

    def __call__(self, images: Tensor, shares: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images [n, 3, h, w], relit."""
        drawn = self.strength * torch.randn(len(images), 3, generator=generator)
        colours = drawn * torch.tensor(VALUES) @ torch.tensor(VECTORS).T
        return images + colours.to(images)[:, :, None, None], shares


def grey(images: Tensor) -> Tensor:
    """The luma of RGB images [n, 3, h, w] as [n, 1, h, w] (ITU-R BT.601)."""
    return (images * torch.tensor(LUMA).to(images)[None, :, None, None]).sum(1, keepdim=True)


def _reference(images: Tensor, kind: int) -> Tensor:
    """What brightness (0), contrast (1) and saturation (2) mix an image with."""
    if kind == 0:
        return torch.zeros_like(images)
    luma = grey(images).expand_as(images)
    return luma if kind == 2 else luma.mean((1, 2, 3), keepdim=True).expand_as(images)
