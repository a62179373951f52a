"""The public StyleGAN-XL generators, from their pickle files."""

import importlib
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from potstill.core.errors import PotstillError, unknown
from potstill.data.classes import imagenet
from potstill.priors.generator import Generator

KEY = "G_ema"
NEEDED = ("mapping", "synthesis", "z_dim", "c_dim", "img_resolution")
NEEDED_OF_SYNTHESIS = ("input", "layer_names", "num_ws", "output_scale")
MODULES = ("dnnlib", "torch_utils")


class StyleGanXl(Generator):
    """StyleGAN-XL of ImageNet: its input is told code 0, layer i code i + 1; the last layer is the one to RGB.

    Source: Sauer et al. 2022 (arXiv:2202.00273); layers, codes and output scale as GLaD runs them. f at layer 0 is
    the Fourier features that code 0 turns and shifts. Images depend on the images beside them by rounding, since the
    networks scale styles by their mean square over the batch before demodulation undoes it. On a GPU the layers of
    high resolution compute in float16; f is float32 here, where GLaD's stays in float16.
    Raises PotstillError for a network that lacks an attribute or has other classes than ImageNet's.
    """

    def __init__(self, net: Any, where: str) -> None:
        for part, names in ((net, NEEDED), (getattr(net, "synthesis", None), NEEDED_OF_SYNTHESIS)):
            missing = [name for name in names if not hasattr(part, name)]
            if missing:
                raise PotstillError(f"{where} holds no StyleGAN-XL generator: it lacks {', '.join(missing)}")
        if net.c_dim != len(imagenet()):
            raise PotstillError(f"{where} knows {net.c_dim} classes. Allowed: ImageNet's {len(imagenet())}.")
        layers = len(net.synthesis.layer_names)
        if net.synthesis.num_ws != layers + 1:
            raise PotstillError(f"{where} has {net.synthesis.num_ws} codes for {layers} layers, not one more")
        super().__init__(net, size=net.img_resolution, layers=layers, z_dim=net.z_dim)
        self.net = net

    def class_row(self, key: str, name: str) -> int:
        """ImageNet's label of a WordNet id."""
        if key not in imagenet().keys:
            raise unknown("class of StyleGAN-XL", key, ["the WordNet ids of ImageNet's 1,000 classes"])
        return imagenet().index(key)

    def code(self, z: Tensor, rows: Tensor) -> Tensor:
        """What the mapping network makes of noise and one-hot classes, without truncation."""
        return self.net.mapping(z, functional.one_hot(rows, self.net.c_dim).to(z))

    def start(self, ws: Tensor) -> Tensor:
        """The Fourier features."""
        return self.net.synthesis.input(ws[:, 0]).float()

    def step(self, x: Tensor, ws: Tensor, place: int) -> Tensor:
        """One layer by its position in the list of names, whose numbers have gaps."""
        synthesis = self.net.synthesis
        return getattr(synthesis, synthesis.layer_names[place])(x, ws[:, 1 + place]).float()

    def finish(self, x: Tensor, ws: Tensor) -> Tensor:
        """The output scale, then from [-1, 1] to [0, 1]."""
        return x * self.net.synthesis.output_scale / 2 + 0.5


def read_pickle(file: Path, device: str, trust: bool) -> StyleGanXl:
    """Opens a StyleGAN-XL pickle, which runs the code that it carries.

    Raises PotstillError without `trust`, where the source's modules can't be imported, and for a file that holds
    something else.
    """
    if not trust:
        raise PotstillError(
            f"{file} is a pickle: opening it runs whatever code it carries on your machine, with your rights. If you "
            "trust where it came from, say so with --trust-pickle (trust_pickle=True), with the StyleGAN-XL source on "
            f"PYTHONPATH so that its modules {' and '.join(MODULES)} can be imported."
        )
    try:
        for module in MODULES:
            importlib.import_module(module)
        with file.open("rb") as handle:
            held = pickle.load(handle)
    except ModuleNotFoundError as error:
        raise PotstillError(
            f"{file} needs module {error.name!r}: put the StyleGAN-XL source on PYTHONPATH"
        ) from error
    except (OSError, pickle.UnpicklingError, EOFError, AttributeError, ImportError) as error:
        raise PotstillError(f"cannot open {file}: {error}") from error
    if not isinstance(held, dict) or not isinstance(held.get(KEY), torch.nn.Module):
        raise PotstillError(f"{file} holds no network {KEY!r}")
    return StyleGanXl(held[KEY].to(device), str(file))
