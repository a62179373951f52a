"""The ConvNet that dataset distillation trains its students with."""

from typing import ClassVar

from torch import nn

from potstill.core.errors import PotstillError
from potstill.nets.layers import NORMS
from potstill.nets.stack import Stack


class ConvNet(Stack):
    """Blocks of 3x3 convolution, norm, ReLU and 2x2 average pooling, then one linear layer.

    Source: with "batch" RDED's conv3 to conv6, with "instance" the ConvNet of the matching papers, whose
    parameter counts they have. Departs: normalises its input itself. `depth` blocks of `width` channels for images
    of `size` px; the linear layer sees all positions, so the size is fixed. Raises PotstillError where `size` does
    not leave a pixel after `depth` halvings.
    """

    title: ClassVar[str] = "ConvNet"
    depths: ClassVar[tuple[int, ...]] = (3, 4, 5, 6)
    stems: ClassVar[tuple[str, ...]] = ("",)
    norms: ClassVar[tuple[str, ...]] = ("batch", "instance", "none")
    usual_depth: ClassVar[int | None] = None
    usual_width: ClassVar[int] = 128

    def __init__(self, *, depth: int, width: int, stem: str, norm: str, classes: int, size: int) -> None:
        side = size >> depth
        if side < 1:
            raise PotstillError(f"ConvNet-{depth} needs images of at least {2**depth} px, not {size}")
        blocks: list[nn.Module] = []
        for place in range(depth):
            convolution = nn.Conv2d(3 if place == 0 else width, width, 3, padding=1)
            blocks += [convolution, NORMS[norm](width), nn.ReLU(inplace=True), nn.AvgPool2d(2)]
        super().__init__(blocks, width * side**2, classes)
