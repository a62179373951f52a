"""What nets share: the normalising first step, norms by name, repeatable dropout, start values from a generator."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from potstill.core.seeds import generator as seeded

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)

NORMS: Mapping[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "instance": lambda width: nn.GroupNorm(width, width),
    "layer": nn.LayerNorm,
    "none": nn.Identity,
}
"""Norms of so many channels by name.

Source: "instance" is what the matching papers call so, a GroupNorm with a group for each channel, learned scale and
shift and no running statistics.
"""


class Normalise(nn.Module):
    """Subtracts a mean colour and divides by its deviation, for RGB in [0, 1]; ImageNet's, if no other is given.

    Source: RDED uses ImageNet's numbers for every data set, CIFAR and Tiny ImageNet included.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: tuple[float, ...] = MEAN, deviation: tuple[float, ...] = DEVIATION) -> None:
        super().__init__()
        self.values = (mean, deviation)
        self.register_buffer("mean", torch.empty(1, 3, 1, 1))
        self.register_buffer("deviation", torch.empty(1, 3, 1, 1))
        self.reset()

    def reset(self) -> None:
        """Fills in the constants."""
        for buffer, values in zip((self.mean, self.deviation), self.values, strict=True):
            buffer.copy_(torch.tensor(values).reshape(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Images [n, 3, h, w] in [0, 1] to roughly zero mean and unit deviation."""
        return (images - self.mean) / self.deviation


class Draws(nn.Module):
    """A generator for each pass in training, from a seed and the number of passes, which are kept with the weights.

    Departs: PyTorch's dropout draws from its global generator; with this one a net trains to the same bits again,
    also after a kill. The draws are those of the device.
    """

    state: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", torch.empty(2, dtype=torch.int64))

    def reset(self, generator: torch.Generator) -> None:
        """Draws a seed and begins to count."""
        self.state[0] = torch.randint(2**62, (), generator=generator)
        self.state[1] = 0

    def forward(self) -> torch.Generator | None:
        """The generator of this pass; None in eval mode."""
        if not self.training:
            return None
        seed, passes = self.state.tolist()
        self.state[1] += 1
        start = seeded("dropout", seed, passes).initial_seed()
        return torch.Generator(self.state.device).manual_seed(start)


def dropout(values: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Sets a share of the values to 0 and enlarges the others to keep the mean; without a generator, nothing."""
    if generator is None:
        return values
    kept = torch.empty_like(values).bernoulli_(1 - share, generator=generator)
    return values * kept / (1 - share)


def uniform_(layer: nn.Conv2d | nn.Linear, generator: torch.Generator) -> None:
    """Draws weight and bias uniformly within plus or minus 1/sqrt(fan in), as PyTorch does by default."""
    bound = 1 / math.sqrt(layer.weight[0].numel())
    for parameter in (layer.weight, layer.bias):
        if parameter is not None:
            nn.init.uniform_(parameter, -bound, bound, generator=generator)


def uniform_start(module: nn.Module, generator: torch.Generator) -> None:
    """Sets every layer of a module to PyTorch's default start, drawn from `generator`."""
    constants_(module)
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            uniform_(layer, generator)


def fan_out_(layer: nn.Conv2d, generator: torch.Generator) -> None:
    """Draws the weight of a bias-free convolution from a normal with deviation sqrt(2/fan out).

    Source: He et al. 2015 (arXiv:1502.01852), backward form; what torchvision's ResNets start from.
    """
    fan_out = layer.weight.shape[0] * layer.weight[0, 0].numel()
    nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / fan_out), generator=generator)


def constants_(module: nn.Module) -> None:
    """Sets what is not drawn: the norms' scale 1 and shift 0, BatchNorm's statistics, the colours' constants."""
    for layer in module.modules():
        if isinstance(layer, Normalise):
            layer.reset()
        elif isinstance(layer, (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)):
            layer.reset_parameters()


def memory_order(module: nn.Module) -> torch.memory_format:
    """The order of images and weights in which a net is computed fastest on a CPU.

    Channels last, in which it convolves fastest, but for nets with GroupNorm: torch 2.13 computes that norm so slowly
    in channels last that a step takes up to 1.4 times as long (`benchmarks/speed/memory.py`).
    """
    grouped = any(isinstance(layer, nn.GroupNorm) for layer in module.modules())
    return torch.contiguous_format if grouped else torch.channels_last


def in_order(module: nn.Module) -> nn.Module:
    """The module itself, its weights in its `memory_order`."""
    return module.to(memory_format=memory_order(module))  # pyright: ignore[reportCallIssue]


def ordered(module: nn.Module, images: Tensor) -> Tensor:
    """Images [n, 3, h, w] in the `memory_order` of the net that is to see them."""
    return images.contiguous(memory_format=memory_order(module))
