"""What ConvNet, AlexNet and VGG are: blocks over the whole image, then one linear layer that sees all positions."""

import torch
from torch import Tensor, nn

from potstill.nets.layers import Normalise, uniform_start


class Stack(nn.Module):
    """Blocks that end in `features` numbers an image, and a linear layer; kinds of net say which blocks."""

    def __init__(self, blocks: list[nn.Module], features: int, classes: int) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(features, classes)

    def embed(self, images: Tensor) -> Tensor:
        """RGB images [n, 3, size, size] in [0, 1] to the features [n, d] of the last layer."""
        return self.blocks(self.normalise(images)).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """RGB images [n, 3, size, size] in [0, 1] to logits [n, classes]."""
        return self.head(self.embed(images))

    def initialise(self, generator: torch.Generator) -> None:
        """Sets every parameter and buffer to PyTorch's default start, drawn from `generator`."""
        uniform_start(self, generator)
