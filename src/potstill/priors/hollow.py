"""A prior's networks by their configurations alone, on the meta device: for counting, not for sampling."""

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from potstill.bundled import resolve, whence
from potstill.core.errors import PotstillError, unknown
from potstill.priors.groups import GROUPS, read_groups
from potstill.priors.prior import BROKEN, Prior


def hollow(source: str) -> Prior:
    """A pipeline's folder or hub id without its weights, of which not one needs to be there.

    Raises PotstillError where the configurations can't be read and for a pipeline that has no prior.
    """
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    from potstill.priors import PRIORS

    place = _checkpoint(resolve(source))
    try:
        index: Any = DiffusionPipeline.load_config(place)
        kind = str(index["_class_name"])
        if kind not in PRIORS:
            raise unknown("diffusers pipeline", kind, PRIORS, place)
        named = {name: entry for name, entry in index.items() if isinstance(entry, list) and entry[0]}
        parts = {name: _part(place, name, *entry) for name, entry in named.items()}
        return PRIORS[kind](SimpleNamespace(components=parts, **parts))
    except (OSError, ValueError, KeyError, AttributeError, ImportError, *BROKEN) as error:
        raise PotstillError(
            f"cannot read the configurations of {source!r} in {whence(source)}: {error}"
        ) from error


def hollow_clip(source: str) -> Any:
    """A CLIP's folder or hub id without its weights."""
    from transformers import CLIPConfig, CLIPModel

    place = resolve(source)
    try:
        with torch.device("meta"):
            return CLIPModel(CLIPConfig.from_pretrained(place)).eval().requires_grad_(False)
    except (OSError, ValueError, *BROKEN) as error:
        raise PotstillError(
            f"cannot read the configuration of the CLIP {source!r} in {whence(source)}: {error}"
        ) from error


def hollow_tiny(source: str) -> Any:
    """An AutoencoderTiny's folder or hub id without its weights."""
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

    with torch.device("meta"):
        settings: Any = AutoencoderTiny.load_config(resolve(source))
        model: Any = AutoencoderTiny.from_config(settings)
    return model.eval().requires_grad_(False)


def _checkpoint(place: str) -> str:
    """The first folder of a prior that was fine-tuned in groups, which are all alike; else the place itself."""
    file = Path(place) / GROUPS
    return str(file.parent / read_groups(file)[0].folder) if file.is_file() else place


def _part(place: str, name: str, library: str, kind: str) -> Any:
    """A network or scheduler; None for a tokenizer, a processor and what has no configuration of its own."""
    try:
        cls: Any = getattr(importlib.import_module(library), kind)
    except ModuleNotFoundError:
        return None
    if kind.endswith("Scheduler"):
        return cls.from_config(cls.load_config(place, subfolder=name))
    if nn.Module not in getattr(cls, "__mro__", ()):
        return None
    with torch.device("meta"):
        if hasattr(cls, "load_config"):
            return cls.from_config(cls.load_config(place, subfolder=name))
        return cls(cls.config_class.from_pretrained(place, subfolder=name))
