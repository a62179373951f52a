"""The ResNet with average pooling for strides that Minimax diffusion validates with."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from potstill.core.errors import PotstillError
from potstill.nets.layers import NORMS, constants_, fan_out_, uniform_
from potstill.nets.resnet import Residual

STAGES = 4
STEMS = {"imagenet": (7, 4), "mid": (3, 2), "small": (3, 1)}
"""Kernel and pooling of the stems, in px."""


class Block(nn.Module):
    """Two 3x3 convolutions with norms, added to the input; what halves the map is an average pooling.

    It stands after the first convolution's ReLU, and in the shortcut between a 1x1 convolution and its norm.
    """

    def __init__(self, before: int, width: int, stride: int, norm: str) -> None:
        super().__init__()
        self.convolution1 = nn.Conv2d(before, width, 3, padding=1, bias=False)
        self.norm1 = NORMS[norm](width)
        self.convolution2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = NORMS[norm](width)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.Identity() if stride == 1 else nn.AvgPool2d(stride)
        self.shortcut = nn.Sequential()
        if before != width:
            projection = nn.Conv2d(before, width, 1, bias=False)
            self.shortcut.extend((projection, nn.AvgPool2d(stride), NORMS[norm](width)))

    def forward(self, inputs: Tensor) -> Tensor:
        """Feature maps [n, before, h, w] to [n, width, h/stride, w/stride]."""
        inner = self.pool(self.relu(self.norm1(self.convolution1(inputs))))
        return self.relu(self.norm2(self.convolution2(inner)) + self.shortcut(inputs))


class ResNetAP(Residual):
    """Four residual blocks, each twice as wide as the last, a mean over positions, a linear layer.

    Source: the validation of Minimax diffusion (Gu et al. 2024, arXiv:2311.15529), ResNetAP-10, there with
    "instance". The stem "imagenet" is a 7x7 convolution at stride 1 and an average pooling of 4, "mid" 3x3 and 2,
    "small" 3x3 alone; the source takes them above 128 px, above 64 px and for smaller images. Departs: normalises
    its input itself; the stem is named, not found from the size. The first block has `width` channels. Convolutions
    start normal by fan out, the linear layer at PyTorch's default. Raises PotstillError for images too small.
    """

    title: ClassVar[str] = "ResNetAP"
    depths: ClassVar[tuple[int, ...]] = (10,)
    stems: ClassVar[tuple[str, ...]] = tuple(STEMS)
    norms: ClassVar[tuple[str, ...]] = ("batch", "instance")
    usual_depth: ClassVar[int | None] = None
    usual_width: ClassVar[int] = 64

    def __init__(self, *, depth: int, width: int, stem: str, norm: str, classes: int, size: int) -> None:
        kernel, pooled = STEMS[stem]
        least = (pooled << STAGES - 1) * (2 if norm == "instance" else 1)
        if size < least:
            raise PotstillError(
                f"ResNetAP-{depth}, {stem} stem, needs images of at least {least} px, not {size}"
            )
        first = nn.Conv2d(3, width, kernel, padding=kernel // 2, bias=False)
        blocks: list[nn.Module] = [Block(width, width, 1, norm)]
        blocks += [Block(width << stage - 1, width << stage, 2, norm) for stage in range(1, STAGES)]
        features = width << STAGES - 1
        super().__init__(first, NORMS[norm](width), nn.AvgPool2d(pooled), blocks, features, classes)

    def initialise(self, generator: torch.Generator) -> None:
        """Sets every parameter and buffer to its start, drawn from `generator`."""
        constants_(self)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                fan_out_(layer, generator)
        uniform_(self.head, generator)
