"""Trained nets on disk: config.json says what a net is and how well it does, model.safetensors holds it."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from potstill.bundled import resolve
from potstill.core.errors import PotstillError, unknown
from potstill.core.files import read_json, write_json, write_whole
from potstill.core.settings import from_plain, to_plain
from potstill.core.table import Table
from potstill.data.matching import matched
from potstill.data.real import Classes
from potstill.nets.layers import in_order
from potstill.nets.spec import Net, hollow

FORMAT = 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"

READERS = Table(
    "trained net",
    {
        "format": "potstill.nets.store:read_net",
        "model_type": "potstill.nets.hub_classifier:read_classifier",
    },
)
"""Readers of trained nets, by the setting that tells whose config.json it is: ours, or that of transformers."""


class Named(Protocol):
    """What a trained net is called."""

    @property
    def short(self) -> str:
        """The form for commands."""
        ...

    @property
    def label(self) -> str:
        """The form for people."""
        ...


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

    Its last layer is `module.head`, a Linear. `metrics` are the numbers it was saved with.
    """

    module: nn.Module
    spec: Named
    classes: Classes
    size: int
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> "StoredNet":
        """The same net on a device; the module given stays where it is."""
        return replace(self, module=frozen(deepcopy(self.module).to(device)))

    def logits(self, pixels: Tensor) -> Tensor:
        """The net's answers [n, classes] for square images [n, 3, h, h] in [0, 1], of whatever side.

        They are resized to `size` where they have another, bilinearly with antialiasing; the gradient reaches them.
        """
        if pixels.shape[-1] != self.size:
            size = (self.size, self.size)
            pixels = functional.interpolate(
                pixels, size, mode="bilinear", antialias=True, align_corners=False
            )
        return self.module(pixels)

    def narrowed(self, wanted: Sequence[str] | Classes) -> "StoredNet":
        """The net for only these classes, in this order: a copy whose last layer keeps their rows.

        Source: RDED narrows 1000-class heads so. Classes, or keys alone, are found by key or name as `matched` finds
        them. Raises PotstillError for a class that the net does not know, or knows more than once.
        """
        asked = wanted if isinstance(wanted, Classes) else Classes(tuple(wanted), tuple(wanted))
        rows = rows_of(self.classes, asked)
        module: Any = deepcopy(self.module)
        for name, values in list(module.head.named_parameters()):
            setattr(module.head, name, nn.Parameter(values.detach()[rows].clone()))
        module.head.out_features = len(rows)
        classes = Classes(asked.keys, tuple(self.classes.names[row] for row in rows))
        return replace(self, module=frozen(module), classes=classes)


def frozen(module: nn.Module) -> nn.Module:
    """The module itself, in eval mode, its parameters without gradients and in the order that is computed fastest."""
    return in_order(module.eval().requires_grad_(False))


def save_net(
    folder: Path, module: nn.Module, spec: Net, classes: Classes, size: int, metrics: Mapping[str, Any]
) -> None:
    """Writes a trained net into a folder, the values first, so that one with a config.json is whole."""
    values = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    write_whole(folder / WEIGHTS, lambda path: save_file(values, path))
    config = NetConfig(format=FORMAT, net=spec, size=size, classes=classes, metrics=metrics)
    write_json(folder / CONFIG, to_plain(config))


def load_net(source: Path | str) -> StoredNet:
    """Reads a trained net by folder, shipped name or hub id, on the CPU: one of ours, or one of transformers.

    Raises PotstillError that names the file which is missing, malformed or does not fit the other.
    """
    place = resolve(str(source))
    if not Path(place).is_dir():
        return READERS["model_type"](place)
    file = Path(place) / CONFIG
    plain = read_json(file)
    for setting in READERS:
        if isinstance(plain, Mapping) and setting in plain:
            return READERS[setting](Path(place))
    raise PotstillError(f"{file} is that of no trained net: it has none of {', '.join(READERS)}")


def read_net(folder: Path) -> StoredNet:
    """Reads a net that `save_net` wrote."""
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


def rows_of(known: Classes, asked: Classes) -> list[int]:
    """The rows of the classes asked for among those known; raises PotstillError as `StoredNet.narrowed` does."""
    rows = []
    for key, name, row in zip(asked.keys, asked.names, matched(asked, known), strict=True):
        if row is None:
            one = Classes((key,), (name,))
            pairs = zip(known.keys, known.names, strict=True)
            alike = [pair[0] for pair in pairs if matched(one, Classes((pair[0],), (pair[1],))) == (0,)]
            if not alike:
                raise unknown("class", key, known.keys)
            raise PotstillError(
                f"class {key!r} is no single class of the net. Name by their keys what is meant of: {', '.join(alike)}"
            )
        rows.append(row)
    return rows


def _fill(module: nn.Module, file: Path) -> None:
    if not file.is_file():
        raise PotstillError(f"no such file: {file}")
    try:
        module.load_state_dict(load_file(file))
    except (SafetensorError, RuntimeError) as error:
        raise PotstillError(f"{file} does not hold the values of this net: {error}") from error
