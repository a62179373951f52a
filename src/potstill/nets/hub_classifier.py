"""Any Hugging Face image classifier as a trained net: RGB in [0, 1] in, logits of its classes out."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from potstill.core.errors import PotstillError
from potstill.data.classes import imagenet
from potstill.data.matching import matched
from potstill.data.real import Classes
from potstill.nets.layers import Normalise
from potstill.nets.store import StoredNet, frozen

ODD = ("rescale_offset", "include_top", "do_flip_channel_order")
"""Settings of processors that do more to the colours than a mean and a deviation."""

IMAGENET_SHARE = 0.5
"""The share of 1,000 names that must match ImageNet's, all but a hundredth of them in its order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubNet:
    """What a Hugging Face classifier is called: its class in transformers, and its hub id or folder's name."""

    source: str
    architecture: str

    @property
    def short(self) -> str:
        """The hub id or the folder's name."""
        return self.source

    @property
    def label(self) -> str:
        """The form for people, for example "ResNetForImageClassification (microsoft/resnet-18)"."""
        return f"{self.architecture} ({self.source})"


class HubClassifier(nn.Module):
    """A transformers classifier that normalises its input itself and whose last linear layer is `head`.

    Raises PotstillError for a model that is not one net with one linear layer at its end.
    """

    def __init__(self, model: Any, mean: tuple[float, ...], deviation: tuple[float, ...], size: int) -> None:
        super().__init__()
        self.normalise = Normalise(mean, deviation)
        probe = torch.linspace(0, 1, 3 * size**2).reshape(1, 3, size, size)
        with torch.no_grad():
            expected = model.eval()(pixel_values=self.normalise(probe)).logits
        name, self.head = _last(model)
        model.set_submodule(name, nn.Identity())
        self.body = model
        with torch.no_grad():
            features = self.embed(probe)
            fits = features.shape == (1, self.head.in_features)
            if not fits or not torch.allclose(self.head(features), expected, rtol=1e-4, atol=1e-4):
                raise PotstillError(f"{type(model).__name__} does not end in one linear layer, {name!r}")

    def embed(self, images: Tensor) -> Tensor:
        """RGB images [n, 3, size, size] in [0, 1] to the features [n, d] of the last layer."""
        return self.body(pixel_values=self.normalise(images)).logits

    def forward(self, images: Tensor) -> Tensor:
        """RGB images [n, 3, size, size] in [0, 1] to logits [n, classes]."""
        return self.head(self.embed(images))


def read_classifier(source: Path | str) -> StoredNet:
    """Opens a classifier by folder or hub id, on the CPU in float32, with its own normalisation, size and classes.

    Classes are its labels, for ImageNet's 1,000 with their WordNet ids as keys. Only safetensors are read. Raises
    PotstillError where it can't be loaded, lacks values, or has a processor that does more than normalise.
    """
    from transformers import AutoModelForImageClassification
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        model, told = AutoModelForImageClassification.from_pretrained(
            source,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        processor, _ = ImageProcessingMixin.get_image_processor_dict(source)
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise PotstillError(f"cannot load an image classifier from {source}: {error}") from error
    if told["missing_keys"]:
        raise PotstillError(
            f"{source} lacks values of its classifier: {', '.join(sorted(told['missing_keys']))}"
        )
    mean, deviation, size = _processing(processor, f"preprocessor_config.json of {source}")
    try:
        module = HubClassifier(model, mean, deviation, size)
    except (PotstillError, ValueError, RuntimeError) as error:
        raise PotstillError(f"{source}: {error}") from error
    name = Path(source).name if Path(source).is_dir() else str(source)
    return StoredNet(
        module=frozen(module),
        spec=HubNet(source=name, architecture=type(model).__name__),
        classes=listed(model.config.id2label),
        size=size,
    )


def listed(labels: Mapping[int, str]) -> Classes:
    """The classes of an `id2label`, in the order of its ids: the labels are names and, where each is one, keys.

    A label that repeats gets its id into its key ("crane#134"). 1,000 labels that are ImageNet's, in its order, get
    WordNet ids for keys.
    """
    names = tuple(str(labels[place]) for place in sorted(labels))
    counts = Counter(names)
    keys = tuple(name if counts[name] == 1 else f"{name}#{place}" for place, name in enumerate(names))
    classes = Classes(keys, names)
    table = imagenet()
    if len(names) == len(table):
        places = [(own, place) for own, place in enumerate(matched(classes, table)) if place is not None]
        ordered = sum(own == place for own, place in places)
        if len(places) >= IMAGENET_SHARE * len(names) and ordered >= 0.99 * len(places):
            return Classes(table.keys, names)
    return classes


def _last(model: nn.Module) -> tuple[str, nn.Linear]:
    """The last linear layer of a model, and its name."""
    linear = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise PotstillError(f"{type(model).__name__} has no linear layer")
    return linear[-1]


def _processing(processor: Mapping[str, Any], where: str) -> tuple[tuple[float, ...], tuple[float, ...], int]:
    """Mean, deviation and side in px that a processor's settings ask for."""
    odd = [name for name in ODD if processor.get(name)]
    if not math.isclose(processor.get("rescale_factor", 1 / 255), 1 / 255, rel_tol=1e-3):
        odd.append("rescale_factor")
    if odd:
        raise PotstillError(f"{where}: {', '.join(odd)} is not supported")
    size = _side(processor, where)
    if processor.get("do_normalize") is False:
        return (0.0,) * 3, (1.0,) * 3, size
    try:
        mean, deviation = (tuple(map(float, processor[name])) for name in ("image_mean", "image_std"))
    except (KeyError, TypeError) as error:
        raise PotstillError(f"{where} has no image_mean and image_std") from error
    if (len(mean), len(deviation)) != (3, 3):
        raise PotstillError(f"{where}: image_mean and image_std must have 3 values: {mean}, {deviation}")
    return mean, deviation, size


def _side(processor: Mapping[str, Any], where: str) -> int:
    """The side in px of the square that a processor ends with: of its crop, where it crops, else of its resizing."""
    cropped = processor.get("do_center_crop") and processor.get("crop_size")
    asked = cropped or processor.get("size")
    sides = set(asked.values()) if isinstance(asked, Mapping) else {asked}
    side = next(iter(sides))
    if len(sides) != 1 or not isinstance(side, int):
        raise PotstillError(f"{where}: images must be square of one size, not {asked}")
    return side
