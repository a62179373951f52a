"""The border of every one-shot generator: a code w for each layer, an activation f between two layers, an image."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from potstill.bundled import resolve
from potstill.core.blocks import in_blocks
from potstill.core.errors import PotstillError


class Generator(ABC):
    """A frozen generator whose synthesis is a chain of layers, each told by a row of w.

    Source: GLaD (Cazenavette et al. 2023, arXiv:2305.01649), section 3: the space F_n is the activation f that the
    first n layers leave, with the codes w of the layers after them. Codes are [n, num_ws, w_dim].
    """

    def __init__(self, module: nn.Module, *, size: int, layers: int, z_dim: int) -> None:
        self.module = module.eval().requires_grad_(False)
        self.size, self.layers, self.z_dim = size, layers, z_dim

    @abstractmethod
    def class_row(self, key: str, name: str) -> int:
        """The generator's number of a class; raises PotstillError for one that it does not know."""

    @abstractmethod
    def code(self, z: Tensor, rows: Tensor) -> Tensor:
        """The codes [n, num_ws, w_dim] of noise [n, z_dim] and class rows int64 [n]."""

    @abstractmethod
    def start(self, ws: Tensor) -> Tensor:
        """The activation that the first layer is given."""

    @abstractmethod
    def step(self, x: Tensor, ws: Tensor, place: int) -> Tensor:
        """The activation after layer `place`, counted from 0, of the one before it."""

    @abstractmethod
    def finish(self, x: Tensor, ws: Tensor) -> Tensor:
        """Images [n, 3, size, size] around [0, 1] of the activation after the last layer."""

    @property
    def like(self) -> Tensor:
        """A parameter, whose device and dtype the generator computes in."""
        return next(self.module.parameters())

    def codes(self, rows: Sequence[int], draws: Sequence[torch.Generator]) -> Tensor:
        """One code for each class row [n, num_ws, w_dim], of z ~ N(0, I) from the image's own generator."""
        z = torch.stack([torch.randn(self.z_dim, generator=draw) for draw in draws]).to(self.like)
        with torch.no_grad():
            return in_blocks(self.code, z, torch.tensor(rows, device=z.device))

    def features(self, ws: Tensor, layer: int) -> Tensor:
        """The activation f [n, ...] that the first `layer` layers leave; at 0 what the first layer is given.

        Gradients reach ws. Raises PotstillError for a layer that is not in [0, layers].
        """
        self.require_layer(layer)

        def rows(ws: Tensor) -> Tensor:
            x = self.start(ws)
            for place in range(layer):
                x = self.step(x, ws, place)
            return x

        return in_blocks(rows, ws)

    def images(self, ws: Tensor, features: Tensor, layer: int) -> Tensor:
        """Images [n, 3, size, size] around [0, 1], not clamped, by the layers from `layer` on, of f and ws.

        Gradients reach both; those of codes that no layer from `layer` on is told are 0. Raises PotstillError as
        `features` does.
        """
        self.require_layer(layer)

        def rows(ws: Tensor, x: Tensor) -> Tensor:
            for place in range(layer, self.layers):
                x = self.step(x, ws, place)
            return self.finish(x, ws)

        return in_blocks(rows, ws, features)

    def require_layer(self, layer: int) -> None:
        """Raises PotstillError for a layer that is not in [0, layers]."""
        if not 0 <= layer <= self.layers:
            raise PotstillError(f"the generator's layer must be in [0, {self.layers}], not {layer}")


def load_generator(source: str, device: str = "cpu", *, trust_pickle: bool = False) -> Generator:
    """Opens a generator: one of ours by shipped name or folder, or a .pkl file of StyleGAN-XL.

    Raises PotstillError where it can't be loaded, and for a .pkl file unless `trust_pickle` says that it may run its
    code.
    """
    if Path(source).suffix == ".pkl":
        from potstill.priors.stylegan_xl import read_pickle

        return read_pickle(Path(source), device, trust_pickle)
    from potstill.priors.style_gan import read_style_gan

    return read_style_gan(Path(resolve(source)), device)
