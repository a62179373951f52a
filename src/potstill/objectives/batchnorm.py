"""BatchNorm statistics: how far the features of a batch lie from those that a net was trained on."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Moments = tuple[Tensor, Tensor]
"""Mean and biased variance of each channel, both [channels]."""


def batch_norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    """The BatchNorm2d layers that keep running statistics, in module order."""
    return [
        layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d) and layer.track_running_stats
    ]


class _Moments(torch.autograd.Function):
    """Two passes forward and one back, fewer than `torch.var_mean` and its own gradient take."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Moments:
        mean = features.mean((0, 2, 3))
        variance = (features - mean[:, None, None]).square_().mean((0, 2, 3))
        ctx.save_for_backward(features, mean)
        return mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        features, mean = ctx.saved_tensors
        of_mean, of_variance = (gradient * mean.numel() / features.numel() for gradient in gradients)
        slope = 2 * of_variance
        return torch.addcmul((of_mean - slope * mean)[:, None, None], features, slope[:, None, None])


def moments(features: Tensor) -> Moments:
    """The moments of features [n, channels, h, w] over images and positions, differentiable once."""
    return _Moments.apply(features)  # pyright: ignore[reportReturnType]


@contextmanager
def watched(layers: Sequence[nn.BatchNorm2d]) -> Iterator[Mapping[nn.BatchNorm2d, Moments]]:
    """Notes the moments of each layer's input, those of the latest pass, for as long as the block lasts."""
    seen: dict[nn.BatchNorm2d, Moments] = {}

    def note(layer: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        seen[layer] = moments(inputs[0])

    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def mismatch(
    layers: Sequence[nn.BatchNorm2d], seen: Mapping[nn.BatchNorm2d, Moments], first: float = 10.0
) -> Tensor:
    """sum_l w_l (|variance_l - running variance_l| + |mean_l - running mean_l|), a scalar, with Euclidean norms.

    Source: SRe2L (Yin et al. 2023, arXiv:2306.13092), the regulariser of its recover step, weighted as in its code:
    `first` for the first layer in module order and 1 for the others; norms over channels, neither squared nor
    averaged.
    """
    total = torch.zeros((), device=seen[layers[0]][0].device)
    for place, layer in enumerate(layers):
        assert layer.running_mean is not None and layer.running_var is not None
        mean, variance = seen[layer]
        apart = (variance - layer.running_var).norm() + (mean - layer.running_mean).norm()
        total = total + (apart if place else first * apart)
    return total
