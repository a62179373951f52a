"""Images from Hugging Face `datasets`: the hub, local parquet files, and what `save_to_disk` writes."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from potstill.core.errors import PotstillError
from potstill.data.check import bad_images, check_images, native_size
from potstill.data.classes import choose, imagenet, mirror_keeps, named
from potstill.data.order import natural
from potstill.data.read import UnreadableImage, read_image
from potstill.data.real import RealData, Split, empty_split, require_images
from potstill.data.source import Source
from potstill.data.tables import (
    TEST_SPLITS,
    Splits,
    column_values,
    encoded_images,
    file_roots,
    find_columns,
    open_splits,
    open_test,
)

SAMPLE = 64
"""Images of each split that are decoded on loading, to see that they can be and of what size they are."""


@dataclass(frozen=True, eq=False)
class _Rows:
    """Reads row i from a `datasets.Dataset` of encoded images; `name` names it in messages.

    A row may name a file instead of holding its bytes, but only one below `roots`: data from elsewhere could else draw
    any image of this machine into a set.
    """

    dataset: Any
    column: str
    name: str
    roots: tuple[Path, ...]

    def __call__(self, row: int) -> Image.Image:
        cell = self.dataset[row][self.column]
        label = f"{self.name}/{row}"
        if cell is None or (cell["bytes"] is None and cell["path"] is None):
            raise UnreadableImage(f"cannot read {label}: its {self.column!r} is empty")
        if cell["bytes"] is not None:
            return read_image(cell["bytes"], label)
        file = Path(cell["path"]).resolve()
        if not any(file.is_relative_to(root) for root in self.roots):
            raise UnreadableImage(f"cannot read {label}: it names {file}, which is no part of the data")
        return read_image(file, label)


def hub_data(source: Source) -> RealData:
    """Reads "ID" or "ID:CONFIG" of the hub, a parquet file, a folder of them, or what else `datasets` loads.

    Files train*.parquet and test*, validation* or val*.parquet, also below data/, are the splits; where no
    name says so all are training images. Test images are the first of `TEST_SPLITS` that is labelled, or what
    `source.test` names: a split, a parquet file, a folder of them. Rows stay on disk and are decoded when
    asked for; a sample is decoded on loading, everything if `source.skip_bad`. A local path makes no network
    call. Raises PotstillError where the source cannot be loaded, columns do not tell image and label, rows
    lack a label, classes lack images, and unless `source.skip_bad` for unreadable images among those decoded.
    """
    if not source.place:
        raise PotstillError(
            "hub: names no data set; write hub:ID, hub:ID:CONFIG or the path of a parquet file"
        )
    name, splits = open_splits(source.place)
    image, label = find_columns(splits["train"].features, source.place)
    test = _test_split(splits, label, source.test)
    keys = _class_keys(splits["train"], label)
    parts = [
        _split(splits[part], (image, label), keys, source.place, part)
        for part in ("train", test)
        if part is not None
    ]
    whole = RealData(
        name=name,
        classes=named(keys),
        train=parts[0],
        test=parts[1] if test else empty_split(),
        size=0,
        mirror=mirror_keeps(keys),
    )
    return require_images(_checked(whole.select(choose(source.classes, keys, source.place)), source))


def _test_split(splits: Splits, label: str, wanted: str | None) -> str | None:
    """The name of the split to test on, opened into `splits` where it lies elsewhere; None where there is none."""
    if wanted in splits:
        return wanted
    if wanted is not None:
        splits["test"] = open_test(wanted)
        return "test"
    return next((name for name in TEST_SPLITS if name in splits and _is_labelled(splits[name], label)), None)


def _is_labelled(dataset: Any, label: str) -> bool:
    return label in dataset.features and any(key is not None for key in _row_keys(dataset, label))


def _names(dataset: Any, label: str) -> tuple[str, ...] | None:
    names = getattr(dataset.features[label], "names", None)
    if names and len(names) == 1000 and names[0].startswith("tench") and names[-1].startswith("toilet"):
        return imagenet().keys
    return tuple(names) if names else None


def _row_keys(dataset: Any, label: str) -> list[str | None]:
    """Each row's class key: what its number is called, or the value itself; None where it is not labelled."""
    values, names = column_values(dataset, label), _names(dataset, label)
    if names is None:
        return [None if value is None else str(value) for value in values]
    return [None if value is None or value < 0 else names[value] for value in values]


def _class_keys(dataset: Any, label: str) -> tuple[str, ...]:
    found = {key for key in _row_keys(dataset, label) if key is not None}
    return _names(dataset, label) or tuple(sorted(found, key=natural))


def _labels(dataset: Any, label: str, keys: tuple[str, ...], where: str) -> torch.Tensor:
    number = {key: place for place, key in enumerate(keys)}
    found = _row_keys(dataset, label)
    bare = found.count(None)
    if bare:
        raise PotstillError(f"{where}: {bare} of {len(found)} rows have no label in column {label!r}")
    strange = sorted({str(key) for key in found if key not in number}, key=natural)
    if strange:
        raise PotstillError(
            f"{where}: column {label!r} holds classes that training lacks: {', '.join(strange[:20])}"
        )
    return torch.tensor([number[str(key)] for key in found], dtype=torch.int64)


def _split(dataset: Any, columns: tuple[str, str], keys: tuple[str, ...], place: str, part: str) -> Split:
    image, label = columns
    where = f"{place}/{part}"
    for column in columns:
        if column not in dataset.features:
            raise PotstillError(f"{where} has no column {column!r}; it has {', '.join(dataset.features)}")
    labels = _labels(dataset, label, keys, where)
    ids = tuple(f"{part}/{row}" for row in range(len(labels)))
    return Split(ids, labels, _Rows(encoded_images(dataset, image), image, where, file_roots(place)))


def _checked(data: RealData, source: Source) -> RealData:
    sizes: set[tuple[int, int]] = set()
    reasons: list[str] = []
    kept: list[Split] = []
    skipped: list[str] = []
    seen = 0
    for split in (data.train, data.test):
        count = len(split)
        rows = (
            range(count)
            if source.skip_bad
            else sorted({i * count // SAMPLE for i in range(SAMPLE)} if count else ())
        )
        check = check_images(lambda row, read=split.read: read(row).size, list(rows), source.on_step)
        seen += len(rows)
        sizes |= check.sizes
        reasons += check.bad.values()
        skipped += [f"{source.place}/{split.ids[row]}" for row in sorted(check.bad)]
        kept.append(split.take([row for row in range(count) if row not in check.bad]) if check.bad else split)
    if reasons and not source.skip_bad:
        raise bad_images(source.place, reasons, seen)
    return replace(data, train=kept[0], test=kept[1], size=native_size(sizes), skipped=tuple(skipped))
