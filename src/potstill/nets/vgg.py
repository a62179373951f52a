"""The VGG of the matching papers."""

from typing import ClassVar

from torch import nn

from potstill.core.errors import PotstillError
from potstill.nets.layers import NORMS
from potstill.nets.stack import Stack

STAGES = {11: (1, 1, 2, 2, 2)}
GRID = 7


class VGG(Stack):
    """Five stages of 3x3 convolutions with norm and ReLU, each ended by a max pooling, then one linear layer.

    Source: DC (Zhao et al. 2021, arXiv:2006.05929) and GLaD (arXiv:2305.01649), after Simonyan & Zisserman 2015
    (arXiv:1409.1556) with one linear layer in place of three. The stem "imagenet" is GLaD's: the last map goes
    through an adaptive max pooling to 7 x 7. "small" is DC's: the linear layer sees the last map itself, one
    position at 32 px. Departs: normalises its input itself; with "batch" it has BatchNorm, which GLaD's VGG11BN
    means to have and, by a misspelt name, has not. The first stage has `width` channels, the next 2, 4, 8 and 8
    times as many. Raises PotstillError below 32 px.
    """

    title: ClassVar[str] = "VGG"
    depths: ClassVar[tuple[int, ...]] = tuple(STAGES)
    stems: ClassVar[tuple[str, ...]] = ("imagenet", "small")
    norms: ClassVar[tuple[str, ...]] = ("instance", "batch")
    usual_depth: ClassVar[int | None] = None
    usual_width: ClassVar[int] = 64

    def __init__(self, *, depth: int, width: int, stem: str, norm: str, classes: int, size: int) -> None:
        side = size >> len(STAGES[depth])
        if side < 1:
            raise PotstillError(f"VGG-{depth} needs images of at least 32 px, not {size}")
        blocks: list[nn.Module] = []
        before = 3
        for stage, count in enumerate(STAGES[depth]):
            after = width << min(stage, 3)
            for _ in range(count):
                blocks += [nn.Conv2d(before, after, 3, padding=1), NORMS[norm](after), nn.ReLU(inplace=True)]
                before = after
            blocks.append(nn.MaxPool2d(2))
        if stem == "imagenet":
            blocks.append(nn.AdaptiveMaxPool2d(GRID))
            side = GRID
        super().__init__(blocks, before * side**2, classes)
