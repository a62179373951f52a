"""ResNets of two-convolution blocks or bottlenecks, with ImageNet's stem or the one for small images."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from potstill.core.errors import PotstillError
from potstill.nets.layers import NORMS, Normalise, constants_, fan_out_, uniform_


class Block(nn.Module):
    """Two 3x3 convolutions with norms, added to the input, which is projected where the shape changes."""

    growth: ClassVar[int] = 1

    def __init__(self, before: int, width: int, stride: int, norm: str) -> None:
        super().__init__()
        self.convolution1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.norm1 = NORMS[norm](width)
        self.convolution2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = NORMS[norm](width)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = shortcut(before, width, stride, norm)

    def forward(self, inputs: Tensor) -> Tensor:
        """Feature maps [n, before, h, w] to [n, width, h/stride, w/stride]."""
        inner = self.relu(self.norm1(self.convolution1(inputs)))
        return self.relu(self.norm2(self.convolution2(inner)) + self.shortcut(inputs))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with norms, the last to four times the width, added to the projected input.

    Source: torchvision, where the 3x3 convolution has the stride and not, as in the paper, the first one.
    """

    growth: ClassVar[int] = 4

    def __init__(self, before: int, width: int, stride: int, norm: str) -> None:
        super().__init__()
        after = self.growth * width
        self.convolution1 = nn.Conv2d(before, width, 1, bias=False)
        self.norm1 = NORMS[norm](width)
        self.convolution2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.norm2 = NORMS[norm](width)
        self.convolution3 = nn.Conv2d(width, after, 1, bias=False)
        self.norm3 = NORMS[norm](after)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = shortcut(before, after, stride, norm)

    def forward(self, inputs: Tensor) -> Tensor:
        """Feature maps [n, before, h, w] to [n, 4 width, h/stride, w/stride]."""
        inner = self.relu(self.norm1(self.convolution1(inputs)))
        inner = self.relu(self.norm2(self.convolution2(inner)))
        return self.relu(self.norm3(self.convolution3(inner)) + self.shortcut(inputs))


def shortcut(before: int, after: int, stride: int, norm: str) -> nn.Sequential:
    """Nothing where the shape stays, else a 1x1 convolution with norm."""
    if stride == 1 and before == after:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), NORMS[norm](after))


BLOCKS: dict[int, tuple[type[Block] | type[Bottleneck], tuple[int, ...]]] = {
    18: (Block, (2, 2, 2, 2)),
    34: (Block, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}


class Residual(nn.Module):
    """A stem with norm, ReLU and pooling, residual blocks, a mean over positions, a linear layer."""

    def __init__(
        self,
        stem: nn.Conv2d,
        norm: nn.Module,
        pool: nn.Module,
        blocks: list[nn.Module],
        features: int,
        classes: int,
    ) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.stem, self.norm = stem, norm
        self.relu = nn.ReLU(inplace=True)
        self.pool = pool
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(features, classes)

    def embed(self, images: Tensor) -> Tensor:
        """RGB images [n, 3, size, size] in [0, 1] to the features [n, d] of the last layer."""
        stem = self.pool(self.relu(self.norm(self.stem(self.normalise(images)))))
        return self.blocks(stem).mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """RGB images [n, 3, size, size] in [0, 1] to logits [n, classes]."""
        return self.head(self.embed(images))


class ResNet(Residual):
    """Four stages of residual blocks, each twice as wide as the last, a mean over positions, a linear layer.

    Source: He et al. 2015 (arXiv:1512.03385) as in torchvision; the small stem is RDED's "modified" one, with
    "instance" it is GLaD's net. Departs: normalises its input itself. The first stage has `width` channels. The
    stem "imagenet" is 7x7 with stride 2 and a max pooling, "small" is 3x3 with neither; any image size is taken.
    Start values are torchvision's, normal by fan out for convolutions and PyTorch's default for the linear layer;
    the small stem's convolution has PyTorch's default too, as in RDED, where it replaces a drawn one. (GLaD leaves
    all at PyTorch's default.)
    """

    title: ClassVar[str] = "ResNet"
    depths: ClassVar[tuple[int, ...]] = tuple(BLOCKS)
    stems: ClassVar[tuple[str, ...]] = ("imagenet", "small")
    norms: ClassVar[tuple[str, ...]] = ("batch", "instance")
    usual_depth: ClassVar[int | None] = None
    usual_width: ClassVar[int] = 64

    def __init__(self, *, depth: int, width: int, stem: str, norm: str, classes: int, size: int) -> None:
        small = stem == "small"
        shrunk = 8 if small else 32
        if norm == "instance" and size <= shrunk:
            raise PotstillError(
                f"ResNet-{depth} with instance norm needs images of more than {shrunk} px, not {size}: "
                "over one position that norm leaves nothing"
            )
        first = nn.Conv2d(3, width, 3 if small else 7, 1 if small else 2, 1 if small else 3, bias=False)
        pool = nn.Identity() if small else nn.MaxPool2d(3, 2, padding=1)
        kind, counts = BLOCKS[depth]
        blocks: list[nn.Module] = []
        before = width
        for stage, count in enumerate(counts):
            for place in range(count):
                blocks.append(kind(before, width << stage, 2 if stage and not place else 1, norm))
                before = kind.growth * width << stage
        super().__init__(first, NORMS[norm](width), pool, blocks, before, classes)

    def initialise(self, generator: torch.Generator) -> None:
        """Sets every parameter and buffer to its start, drawn from `generator`."""
        constants_(self)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                small_stem = layer is self.stem and layer.kernel_size == (3, 3)
                (uniform_ if small_stem else fan_out_)(layer, generator)
        uniform_(self.head, generator)
