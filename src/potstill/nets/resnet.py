"""ResNets of two-convolution blocks, with ImageNet's stem or the one for small images."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from potstill.nets.layers import Normalise, constants_, fan_out_, uniform_

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


class Block(nn.Module):
    """Two 3x3 convolutions with BatchNorm, added to the input, which is projected where the shape changes."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.convolution1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.convolution2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != width:
            self.shortcut.append(nn.Conv2d(before, width, 1, stride, bias=False)).append(
                nn.BatchNorm2d(width)
            )

    def forward(self, inputs: Tensor) -> Tensor:
        """Feature maps [n, before, h, w] to [n, width, h/stride, w/stride]."""
        inner = self.relu(self.norm1(self.convolution1(inputs)))
        return self.relu(self.norm2(self.convolution2(inner)) + self.shortcut(inputs))


class ResNet(nn.Module):
    """Four stages of residual blocks, each twice as wide as the last, a mean over positions, a linear layer.

    Source: He et al. 2015 (arXiv:1512.03385) as in torchvision; the small stem is RDED's "modified" one.
    Departs: normalises its input itself. The first stage has `width` channels. The stem "imagenet" is 7x7
    with stride 2 and a max pooling, "small" is 3x3 with neither; any image size is taken. Start values are
    torchvision's, normal by fan out for convolutions and PyTorch's default for the linear layer; the small
    stem's convolution has PyTorch's default too, as in RDED, where it replaces a drawn one.
    """

    title: ClassVar[str] = "ResNet"
    depths: ClassVar[tuple[int, ...]] = tuple(BLOCKS)
    stems: ClassVar[tuple[str, ...]] = ("imagenet", "small")
    usual_width: ClassVar[int] = 64

    def __init__(self, *, depth: int, width: int, stem: str, classes: int, size: int) -> None:
        super().__init__()
        small = stem == "small"
        self.normalise = Normalise()
        self.stem = nn.Conv2d(3, width, 3 if small else 7, 1 if small else 2, 1 if small else 3, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.Identity() if small else nn.MaxPool2d(3, 2, padding=1)
        blocks: list[nn.Module] = []
        before = width
        for stage, count in enumerate(BLOCKS[depth]):
            for place in range(count):
                blocks.append(Block(before, width << stage, 2 if stage and not place else 1))
                before = width << stage
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(before, classes)

    def embed(self, images: Tensor) -> Tensor:
        """RGB images [n, 3, size, size] in [0, 1] to the features [n, 8 * width] of the last layer."""
        stem = self.pool(self.relu(self.norm(self.stem(self.normalise(images)))))
        return self.blocks(stem).mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """RGB images [n, 3, size, size] in [0, 1] to logits [n, classes]."""
        return self.head(self.embed(images))

    def initialise(self, generator: torch.Generator) -> None:
        """Sets every parameter and buffer to its start, drawn from `generator`."""
        constants_(self)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                small_stem = layer is self.stem and layer.kernel_size == (3, 3)
                (uniform_ if small_stem else fan_out_)(layer, generator)
        uniform_(self.head, generator)
