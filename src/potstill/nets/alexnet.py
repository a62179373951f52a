"""The AlexNet of the matching papers."""

from typing import ClassVar

from torch import nn

from potstill.core.errors import PotstillError
from potstill.nets.layers import NORMS
from potstill.nets.stack import Stack


class AlexNet(Stack):
    """Five convolutions without norm, three max poolings, one linear layer.

    Source: DC (Zhao et al. 2021, arXiv:2006.05929) and GLaD (arXiv:2305.01649): channels 128, 192, 256, 192, 192,
    kernels of 5, 5, 3, 3, 3 px at stride 1, poolings after the first, the second and the last. Departs: normalises
    its input itself. `width` is that of the first convolution, the others follow in proportion; the linear layer
    sees all positions, so the size is fixed. Raises PotstillError below 8 px.
    """

    title: ClassVar[str] = "AlexNet"
    depths: ClassVar[tuple[int, ...]] = (5,)
    stems: ClassVar[tuple[str, ...]] = ("",)
    norms: ClassVar[tuple[str, ...]] = ("none",)
    usual_depth: ClassVar[int | None] = 5
    usual_width: ClassVar[int] = 128

    def __init__(self, *, depth: int, width: int, stem: str, norm: str, classes: int, size: int) -> None:
        side = size >> 3
        if side < 1:
            raise PotstillError(f"AlexNet needs images of at least 8 px, not {size}")
        middle = width * 3 // 2
        channels, kernels = (3, width, middle, 2 * width, middle, middle), (5, 5, 3, 3, 3)
        blocks: list[nn.Module] = []
        for place, kernel in enumerate(kernels):
            after = channels[place + 1]
            blocks += [nn.Conv2d(channels[place], after, kernel, padding=kernel // 2), NORMS[norm](after)]
            blocks.append(nn.ReLU(inplace=True))
            if place in (0, 1, 4):
                blocks.append(nn.MaxPool2d(2))
        super().__init__(blocks, middle * side**2, classes)
