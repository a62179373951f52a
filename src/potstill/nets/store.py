"""Trained nets on disk: config.json says what a net is and how well it does, model.safetensors holds it."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from potstill.core.errors import PotstillError
from potstill.core.files import read_json, write_json, write_whole
from potstill.core.settings import from_plain, to_plain
from potstill.data.real import Classes
from potstill.nets.layers import channels_last
from potstill.nets.spec import Net, hollow

FORMAT = 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetConfig:
    """The contents of config.json."""

    format: int
    net: Net
    size: int
    classes: Classes
    metrics: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredNet:
    """A trained net to be used, not trained: in eval mode, with frozen parameters, for images of `size` px.

    `metrics` are the numbers it was saved with.
    """

    module: nn.Module
    spec: Net
    classes: Classes
    size: int
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> "StoredNet":
        """The same net on a device; the module given stays where it is."""
        return replace(self, module=frozen(deepcopy(self.module).to(device)))

    def narrowed(self, keys: Sequence[str]) -> "StoredNet":
        """The net for only these classes, in this order: a copy whose last layer keeps their rows.

        Source: RDED narrows 1000-class heads so. Raises PotstillError for a class that the net does not
        know.
        """
        rows = [self.classes.index(key) for key in keys]
        module: Any = deepcopy(self.module)
        for name, values in list(module.head.named_parameters()):
            setattr(module.head, name, nn.Parameter(values.detach()[rows].clone()))
        module.head.out_features = len(rows)
        classes = Classes(tuple(keys), tuple(self.classes.names[row] for row in rows))
        return replace(self, module=frozen(module), classes=classes)


def frozen(module: nn.Module) -> nn.Module:
    """The module itself, in eval mode, its parameters without gradients, its convolutions channels last."""
    return channels_last(module.eval().requires_grad_(False))


def save_net(
    folder: Path, module: nn.Module, spec: Net, classes: Classes, size: int, metrics: Mapping[str, Any]
) -> None:
    """Writes a trained net into a folder, the values first, so that one with a config.json is whole."""
    values = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    write_whole(folder / WEIGHTS, lambda path: save_file(values, path))
    config = NetConfig(format=FORMAT, net=spec, size=size, classes=classes, metrics=metrics)
    write_json(folder / CONFIG, to_plain(config))


def load_net(folder: Path) -> StoredNet:
    """Reads a net that `save_net` wrote, on the CPU.

    Raises PotstillError that names the file which is missing, malformed or does not fit the other.
    """
    file = folder / CONFIG
    plain = read_json(file)
    try:
        config = from_plain(NetConfig, plain, str(file))
        module = hollow(config.net, len(config.classes), config.size)
    except PotstillError as error:
        named = str(file) in str(error)
        raise error if named else PotstillError(f"{file}: {error}") from error
    if config.format != FORMAT:
        raise PotstillError(f"{file}: unknown format {config.format}. Allowed: {FORMAT}.")
    _fill(module, folder / WEIGHTS)
    return StoredNet(
        module=frozen(module),
        spec=config.net,
        classes=config.classes,
        size=config.size,
        metrics=config.metrics,
    )


def _fill(module: nn.Module, file: Path) -> None:
    if not file.is_file():
        raise PotstillError(f"no such file: {file}")
    try:
        module.load_state_dict(load_file(file))
    except (SafetensorError, RuntimeError) as error:
        raise PotstillError(f"{file} does not hold the values of this net: {error}") from error
