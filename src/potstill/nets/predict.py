"""Asking a finished net."""

import torch
from torch import Tensor, nn

from potstill.nets.layers import ordered

CACHED_PIXELS = 2**15
LEAST_ROWS = 8


@torch.no_grad()
def predict(module: nn.Module, images: Tensor) -> Tensor:
    """Logits [n, classes] of RGB images [n, 3, s, s] in [0, 1], without gradients; the net is in eval mode.

    A CPU is given a few rows at a time (32 at 32 px, 8 from 64 px on), whose feature maps stay in its cache.
    """
    images = ordered(module, images)
    if images.device.type != "cpu":
        return module(images)
    rows = max(LEAST_ROWS, CACHED_PIXELS // images.shape[-1] ** 2)
    return torch.cat([module(part) for part in images.split(rows)])
