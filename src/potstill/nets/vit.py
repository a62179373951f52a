"""The vision transformer of the matching papers."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from potstill.core.errors import PotstillError
from potstill.nets.layers import NORMS, Draws, Normalise, dropout, uniform_start

HEADS = 8
DROPPED = 0.1
PATCHES = {"imagenet": 16, "small": 4}


class Layer(nn.Module):
    """Attention of 8 heads, then two linear layers with GELU between, each added to what it is given."""

    def __init__(self, width: int, norm: str) -> None:
        super().__init__()
        self.norm1, self.norm2 = NORMS[norm](width), NORMS[norm](width)
        self.mix = nn.Linear(width, 3 * width, bias=False)
        self.mixed = nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, tokens: Tensor, draws: torch.Generator | None) -> Tensor:
        """Tokens [n, t, width] to the same; dropout draws from `draws`."""
        parts = self.mix(self.norm1(tokens)).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
        tokens = tokens + dropout(self.mixed(attended), DROPPED, draws)
        inner = dropout(functional.gelu(self.inner(self.norm2(tokens))), DROPPED, draws)
        return tokens + dropout(self.outer(inner), DROPPED, draws)


class ViT(nn.Module):
    """Square patches and a class token as tokens, transformer layers, a linear layer on the class token.

    Source: GLaD (Cazenavette et al. 2023, arXiv:2305.01649): width 512 throughout, 8 heads, dropout 0.1; patches
    of 16 px, 10 layers and no norm at all for ImageNet (stem "imagenet"), patches of 4 px, 6 layers and LayerNorm
    before each part and the last layer for CIFAR (vit-6-small-layer). Departs: normalises its input itself; heads
    have width/8 channels, 64 as there at the usual width; dropout draws from the net's own seed. The positions are
    learned, so the size is fixed. Raises PotstillError for a width that 8 heads can't share and for a size that is
    not whole patches.
    """

    title: ClassVar[str] = "ViT"
    depths: ClassVar[tuple[int, ...]] = (6, 10)
    stems: ClassVar[tuple[str, ...]] = tuple(PATCHES)
    norms: ClassVar[tuple[str, ...]] = ("none", "layer")
    usual_depth: ClassVar[int | None] = 10
    usual_width: ClassVar[int] = 512

    def __init__(self, *, depth: int, width: int, stem: str, norm: str, classes: int, size: int) -> None:
        super().__init__()
        patch = PATCHES[stem]
        if width % HEADS:
            raise PotstillError(f"the width of a ViT must be a multiple of its {HEADS} heads, not {width}")
        if size < patch or size % patch:
            raise PotstillError(
                f"a ViT with patches of {patch} px needs images of whole patches, not {size} px"
            )
        self.normalise = Normalise()
        self.draws = Draws()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, (size // patch) ** 2 + 1, width))
        self.layers = nn.ModuleList(Layer(width, norm) for _ in range(depth))
        self.norm = NORMS[norm](width)
        self.head = nn.Linear(width, classes)

    def embed(self, images: Tensor) -> Tensor:
        """RGB images [n, 3, size, size] in [0, 1] to the features [n, width] of the last layer."""
        draws = self.draws()
        patches = self.patches(self.normalise(images)).flatten(2).transpose(1, 2)
        tokens = torch.cat((self.token.expand(len(images), -1, -1), patches), 1) + self.positions
        tokens = dropout(tokens, DROPPED, draws)
        for layer in self.layers:
            tokens = layer(tokens, draws)
        return self.norm(tokens[:, 0])

    def forward(self, images: Tensor) -> Tensor:
        """RGB images [n, 3, size, size] in [0, 1] to logits [n, classes]."""
        return self.head(self.embed(images))

    def initialise(self, generator: torch.Generator) -> None:
        """Sets every parameter and buffer to its start, drawn from `generator`.

        Layers have PyTorch's default, the class token and the positions a standard normal, as in the source.
        """
        uniform_start(self, generator)
        for parameter in (self.token, self.positions):
            nn.init.normal_(parameter, generator=generator)
        self.draws.reset(generator)
