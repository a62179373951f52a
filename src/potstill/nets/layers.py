"""What all nets share: the normalising first step, and start values drawn from a generator."""

import math

import torch
from torch import Tensor, nn

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


class Normalise(nn.Module):
    """Subtracts ImageNet's mean colour and divides by its deviation, for RGB in [0, 1].

    Source: RDED uses these numbers for every data set, CIFAR and Tiny ImageNet included.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.empty(1, 3, 1, 1))
        self.register_buffer("deviation", torch.empty(1, 3, 1, 1))
        self.reset()

    def reset(self) -> None:
        """Fills in the constants."""
        for buffer, values in ((self.mean, MEAN), (self.deviation, DEVIATION)):
            buffer.copy_(torch.tensor(values).reshape(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Images [n, 3, h, w] in [0, 1] to roughly zero mean and unit deviation."""
        return (images - self.mean) / self.deviation


def uniform_(layer: nn.Conv2d | nn.Linear, generator: torch.Generator) -> None:
    """Draws weight and bias uniformly within plus or minus 1/sqrt(fan in), as PyTorch does by default."""
    bound = 1 / math.sqrt(layer.weight[0].numel())
    for parameter in (layer.weight, layer.bias):
        if parameter is not None:
            nn.init.uniform_(parameter, -bound, bound, generator=generator)


def fan_out_(layer: nn.Conv2d, generator: torch.Generator) -> None:
    """Draws the weight of a bias-free convolution from a normal with deviation sqrt(2/fan out).

    Source: He et al. 2015 (arXiv:1502.01852), backward form; what torchvision's ResNets start from.
    """
    fan_out = layer.weight.shape[0] * layer.weight[0, 0].numel()
    nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / fan_out), generator=generator)


def constants_(module: nn.Module) -> None:
    """Sets what is not drawn: BatchNorm's scale 1, shift 0, mean 0, variance 1, the colours' constants."""
    for layer in module.modules():
        if isinstance(layer, (nn.BatchNorm2d, Normalise)):
            layer.reset() if isinstance(layer, Normalise) else layer.reset_parameters()


def channels_last(module: nn.Module) -> nn.Module:
    """The module itself with its weights in the memory order in which a CPU convolves 1.3 times as fast."""
    return module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
