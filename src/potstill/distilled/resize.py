"""Square images at another side, as students of one table must see them."""

import torch
from torch import Tensor
from torch.nn import functional


def resized(images: Tensor, size: int) -> Tensor:
    """Square images [n, 3, h, h] as [n, 3, size, size], bicubic with antialiasing; a no-op where h is `size`.

    As real images are resized (`potstill.data.read.square`). uint8 images are rounded and cut to their range, float
    ones keep what lies outside [0, 1].
    """
    if images.shape[-1] == size:
        return images
    floats = images if images.is_floating_point() else images.float()
    made = functional.interpolate(floats, (size, size), mode="bicubic", antialias=True, align_corners=False)
    return made if images.is_floating_point() else made.round().clamp(0, 255).to(torch.uint8)
