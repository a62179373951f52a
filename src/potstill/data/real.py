"""Labelled real images in two splits, read one at a time."""

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from potstill.core.errors import PotstillError, unknown
from potstill.core.seeds import generator
from potstill.data.read import square

LARGE = 128 * 128
"""Pixels from which several threads decode faster than one: at 256 px two halve the time, at 64 they lose."""

READERS = min(16, os.cpu_count() or 1)
"""Threads that decode large images; PIL lets go of Python's lock while it decodes and resizes."""

SAMPLE = 64
"""Images of a split whose pixels go into its fingerprint, beside all names and labels."""


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of a data set: what identifies each (folder name, WordNet id) and what a person calls it.

    Raises PotstillError where keys repeat or are not as many as names.
    """

    keys: tuple[str, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.keys) != len(self.names):
            raise PotstillError(f"{len(self.keys)} class keys but {len(self.names)} names")
        repeated = [key for key, count in Counter(self.keys).items() if count > 1]
        if repeated:
            raise PotstillError(f"classes given more than once: {', '.join(repeated)}")

    def __len__(self) -> int:
        return len(self.keys)

    def index(self, key: str) -> int:
        """The label of a class; raises PotstillError for a key that is not among them."""
        if key not in self.keys:
            raise unknown("class", key, self.keys)
        return self.keys.index(key)


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels, none of them read before it is asked for.

    `ids` name one image each, for good (a relative path, or "train/17"); `labels` are int64 [n]; `read` gives
    row i as an upright 8-bit RGB image.
    """

    ids: tuple[str, ...]
    labels: Tensor
    read: Callable[[int], Image.Image]

    def __post_init__(self) -> None:
        if self.labels.shape != (len(self.ids),) or self.labels.dtype != torch.int64:
            found = f"{self.labels.dtype} {list(self.labels.shape)}"
            raise PotstillError(f"{len(self.ids)} ids need as many int64 labels, not {found}")

    def __len__(self) -> int:
        return len(self.ids)

    def pixels(self, rows: Sequence[int] | Tensor | None, size: int) -> Tensor:
        """The rows (None: all) as uint8 [n, 3, size, size], resized and centre cropped by `square`."""
        require_side(size)
        chosen = list(range(len(self))) if rows is None else _chosen(rows)
        held = self._held(chosen, size)
        if held is not None:
            return held
        stack = torch.empty(len(chosen), 3, size, size, dtype=torch.uint8)
        large = bool(chosen) and math.prod(self.read(chosen[0]).size) >= LARGE
        with ThreadPoolExecutor(READERS) as pool:
            each = pool.map if large else map
            for place, pixels in enumerate(each(lambda row: _to_tensor(self.read(row), size), chosen)):
                stack[place] = pixels
        return stack

    def of_class(self, label: int) -> Tensor:
        """The row numbers of one class, int64, ascending."""
        return torch.nonzero(self.labels == label).flatten()

    def fingerprint(self, size: int) -> bytes:
        """The SHA-256 of all ids and labels and of the pixels, at `size` px, of `SAMPLE` images."""
        rows = sorted({place * len(self) // SAMPLE for place in range(SAMPLE)}) if len(self) else []
        digest = hashlib.sha256("\n".join(self.ids).encode())
        digest.update(self.labels.numpy().tobytes())
        digest.update(self.pixels(rows, size).numpy().tobytes())
        return digest.digest()

    def take(self, rows: Sequence[int] | Tensor) -> "Split":
        """The rows given, in the order given; a mask of booleans gives those where it is true."""
        chosen = tuple(_chosen(rows))
        ids = tuple(self.ids[row] for row in chosen)
        inner = self.read
        if isinstance(inner, _Taken):
            reader = _Taken(inner.read, tuple(inner.rows[row] for row in chosen))
        else:
            reader = _Taken(inner, chosen)
        return Split(ids, self.labels[list(chosen)], reader)

    def _held(self, rows: list[int], size: int) -> Tensor | None:
        inner, wanted = self.read, rows
        if isinstance(inner, _Taken):
            inner, wanted = inner.read, [inner.rows[row] for row in rows]
        if isinstance(inner, _InMemory) and inner.images.shape[-2:] == (size, size):
            return inner.images[wanted]
        return None


@dataclass(frozen=True, eq=False)
class RealData:
    """A data set of real images.

    `size` is its native square size in px (256 for photos of many sizes). `mirror` says whether a horizontal
    flip keeps the class, which it does not for writing. `skipped` lists images left out because they cannot
    be read.
    """

    name: str
    classes: Classes
    train: Split
    test: Split
    size: int
    mirror: bool
    skipped: tuple[str, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """Which data these are: the hex SHA-256 of name, class keys, size and both splits' fingerprints."""
        digest = hashlib.sha256(json.dumps([self.name, self.classes.keys, self.size]).encode())
        for split in (self.train, self.test):
            digest.update(split.fingerprint(self.size))
        return digest.hexdigest()

    def select(self, keys: Sequence[str]) -> "RealData":
        """Only these classes, labelled in the order given; images keep their order.

        Raises PotstillError for an unknown or repeated class.
        """
        old = [self.classes.index(key) for key in keys]
        classes = Classes(tuple(keys), tuple(self.classes.names[label] for label in old))
        renumber = torch.full((len(self.classes),), -1)
        renumber[old] = torch.arange(len(old))
        train, test = (_relabelled(split, renumber) for split in (self.train, self.test))
        return replace(self, classes=classes, train=train, test=test)


def _chosen(rows: Sequence[int] | Tensor) -> list[int]:
    if isinstance(rows, Tensor) and rows.dtype == torch.bool:
        rows = torch.nonzero(rows).flatten()
    return [int(row) for row in rows]


def tensor_split(images: Tensor, labels: Tensor, prefix: str) -> Split:
    """A split of images held in memory, uint8 [n, 3, h, w], whose ids are "prefix/row".

    Raises PotstillError for images of another kind or shape.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise PotstillError(f"images must be uint8 [n, 3, h, w], not {images.dtype} {list(images.shape)}")
    ids = tuple(f"{prefix}/{row}" for row in range(len(images)))
    return Split(ids, labels, _InMemory(images))


def empty_split() -> Split:
    """A split without images."""
    return tensor_split(torch.empty(0, 3, 1, 1, dtype=torch.uint8), torch.empty(0, dtype=torch.int64), "none")


def require_side(size: int) -> None:
    """Raises PotstillError for a side of no pixels."""
    if size < 1:
        raise PotstillError(f"images have a side of at least 1 px, not {size}")


def require_images(data: RealData) -> RealData:
    """The data unchanged; raises PotstillError naming classes without images in train or a test not empty."""
    for part, split in (("train", data.train), ("test", data.test)):
        found = set(split.labels.tolist())
        bare = [key for label, key in enumerate(data.classes.keys) if label not in found]
        if bare and (part == "train" or len(split)):
            raise PotstillError(
                f"{data.name} has no {part} images of {len(bare)} classes: {', '.join(bare[:20])}"
            )
    return data


def shuffled(data: RealData, key: str, seed: int) -> list[int]:
    """The rows of a class's training images in an order that (seed, class) decides; random images are the first."""
    rows = data.train.of_class(data.classes.index(key))
    return rows[torch.randperm(len(rows), generator=generator(seed, "random", key))].tolist()


def require_per_class(data: RealData, count: int) -> None:
    """Raises PotstillError naming a class with fewer than `count` training images."""
    held = data.train.labels.bincount(minlength=len(data.classes)).tolist()
    for key, own in zip(data.classes.keys, held, strict=True):
        if own < count:
            raise PotstillError(f"class {key!r} of {data.name} has {own} training images, fewer than {count}")


@dataclass(frozen=True, eq=False)
class _InMemory:
    images: Tensor

    def __call__(self, row: int) -> Image.Image:
        return Image.fromarray(self.images[row].permute(1, 2, 0).numpy())


@dataclass(frozen=True, eq=False)
class _Taken:
    read: Callable[[int], Image.Image]
    rows: tuple[int, ...]

    def __call__(self, row: int) -> Image.Image:
        return self.read(self.rows[row])


def _to_tensor(image: Image.Image, size: int) -> Tensor:
    return torch.from_numpy(np.array(square(image, size))).permute(2, 0, 1)


def _relabelled(split: Split, renumber: Tensor) -> Split:
    labels = renumber[split.labels]
    kept = torch.nonzero(labels >= 0).flatten()
    return replace(split.take(kept), labels=labels[kept])
