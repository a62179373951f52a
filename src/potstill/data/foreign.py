"""Other people's sets: any image folder or Hugging Face image data set, evaluated like one of ours."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.core.progress import OnStep, silent
from potstill.data import DATASETS, load
from potstill.data.matching import class_order, match_classes
from potstill.data.real import Classes, RealData, Split
from potstill.data.source import kind_and_place
from potstill.distilled import DistilledSet, Manifest
from potstill.distilled.evaluable import Evaluable
from potstill.distilled.folders import folder_name
from potstill.distilled.set import MANIFEST


@dataclass(frozen=True, eq=False)
class ForeignSet:
    """Somebody else's set: `split` holds its images, labelled by position among `keys`, the real data's classes."""

    folder: Path
    manifest: Manifest
    split: Split
    keys: tuple[str, ...]

    def first(self, images_per_class: int) -> "ForeignSet":
        """The same set cut to the first images of every class, in the order of file names or rows.

        Raises PotstillError where a class has fewer; the largest class's number keeps all images.
        """
        if images_per_class == self.manifest.images_per_class:
            return self
        rows = [self.split.of_class(label) for label in range(len(self.keys))]
        least = min(map(len, rows))
        if not 1 <= images_per_class <= least:
            raise PotstillError(
                f"{self.manifest.name} has {least} images of its smallest class, not {images_per_class}"
            )
        kept = torch.cat([one[:images_per_class] for one in rows])
        manifest = replace(self.manifest, images_per_class=images_per_class)
        return replace(self, manifest=manifest, split=self.split.take(kept))

    def images(self) -> Tensor:
        """All images as uint8 [n, 3, size, size], short sides resized and centres cropped where need be."""
        return self.split.pixels(None, self.manifest.size)

    def examples(self, keys: Sequence[str]) -> tuple[Tensor, Tensor]:
        """All images and their labels."""
        return self.images(), self.labels(keys)

    def labels(self, keys: Sequence[str]) -> Tensor:
        """Class positions among `keys`, int64 [n]; raises PotstillError for a class that `keys` lacks."""
        listed = Classes(tuple(keys), tuple(keys))
        return torch.tensor([listed.index(key) for key in self.keys])[self.split.labels]


def made_from(source: str) -> str | None:
    """What a set of ours was made from, None for a foreign one; raises PotstillError where there is nothing to open."""
    folder = Path(source).expanduser()
    if (folder / MANIFEST).exists():
        return str(DistilledSet.load(folder).manifest.data["name"])
    kind_and_place(source, DATASETS)
    return None


def open_set(
    source: str,
    real: RealData,
    results: Path,
    *,
    order: str | None = None,
    size: int | None = None,
    skip_bad: bool = False,
    on_step: OnStep = silent,
) -> Evaluable:
    """A distilled set of ours where `source` is the folder of one, else a foreign set (see `foreign`).

    Raises PotstillError for an `order` of ours, which tells its classes itself.
    """
    if (Path(source).expanduser() / MANIFEST).exists():
        if order is not None:
            raise PotstillError(f"{source} says itself which class an image is of: leave out --class-order")
        return DistilledSet.load(Path(source).expanduser())
    return foreign(source, real, results, order=order, size=size, skip_bad=skip_bad, on_step=on_step)


def foreign(
    source: str,
    real: RealData,
    results: Path,
    *,
    order: str | None = None,
    size: int | None = None,
    skip_bad: bool = False,
    on_step: OnStep = silent,
) -> ForeignSet:
    """Takes the training images of anything that `load` reads as a set made from `real`.

    Classes are matched by key or name (see `matched`), never by position: folders or labels that are bare numbers
    are refused unless the data's keys are such numbers, or `order` says which class each number is (see
    `class_order`). `size` is the common side in px, by default the images' own. Evaluations go into a folder in
    `results` named by the set and its place, for nothing is written into other people's folders. Raises PotstillError
    for classes that are not those of `real` and for what `load` cannot read.
    """
    found = load(source, skip_bad=skip_bad, on_step=on_step)
    listed = found.classes if order is None else _numbered(found.classes, order, real.classes, source)
    places = match_classes(listed, real.classes, source, real.name)
    split = replace(found.train, labels=torch.tensor(places)[found.train.labels])
    manifest = Manifest(
        name=found.name,
        method={"kind": "foreign", "source": source, "order": order},
        data={"name": real.name, "train": len(real.train), "test": len(real.test)},
        classes={"keys": real.classes.keys, "names": real.classes.names},
        images_per_class=int(split.labels.bincount().max()),
        size=size or found.size,
        seed=0,
        finished=True,
    )
    return ForeignSet(results / _apart(found.name, source), manifest, split, real.classes.keys)


def _apart(name: str, source: str) -> str:
    """A folder's name for a set: sets of one name in two places are told apart."""
    place = Path(source).expanduser()
    told = str(place.resolve()) if place.exists() else source
    return folder_name(f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:8]}")


def _numbered(found: Classes, order: str, real: Classes, where: str) -> Classes:
    """The classes by what `order` calls their numbers."""
    keys = class_order(order, real)
    wrong = [key for key in found.keys if not key.isdecimal() or int(key) >= len(keys)]
    if wrong:
        raise PotstillError(
            f"{where}: --class-order tells what the numbers 0 to {len(keys) - 1} are, and there are classes called "
            f"{', '.join(wrong[:20])}"
        )
    named = tuple(keys[int(key)] for key in found.keys)
    return Classes(named, named)
