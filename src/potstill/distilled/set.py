"""What a finished distilled set is, and how it is read and verified."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.core.files import parse_json, read_json, sha256
from potstill.core.settings import from_plain
from potstill.distilled.folders import folder_name
from potstill.distilled.mosaic import unfolded

FORMAT = 1
MANIFEST, METADATA, PARTIAL = "potstill.json", "metadata.jsonl", "metadata.partial.jsonl"
EXACT = "images.safetensors"
FIXED = {"file_name": str, "class": str, "index": int, "seed": int, "sha256": str}
"""What every line of metadata.jsonl has, with its type."""
MENDED = "the same `potstill distill` again mends the set"


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """One place in a distilled set: the `index`-th image (0-based) of the class `key`."""

    key: str
    index: int

    @property
    def file_name(self) -> str:
        """The image's path inside the set, safe on every file system whatever the key holds."""
        return f"train/{folder_name(self.key)}/{self.index:05d}.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of one image: its slot, its seed, its file's hash and what its method wrote down."""

    slot: Slot
    seed: int
    sha256: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_line(self) -> str:
        """The record as one line of metadata.jsonl."""
        fixed = {
            "file_name": self.slot.file_name,
            "class": self.slot.key,
            "index": self.slot.index,
            "seed": self.seed,
            "sha256": self.sha256,
        }
        return json.dumps(fixed | dict(self.details), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_line(cls, line: str | bytes) -> "Record":
        """The record of one line of metadata.jsonl; raises ValueError or KeyError where the line is not one."""
        values = parse_json(line)
        if not isinstance(values, dict):
            raise ValueError(f"not an object: {values!r}")
        fixed = {name: values.pop(name) for name in FIXED}
        for name, kind in FIXED.items():
            if type(fixed[name]) is not kind:
                raise ValueError(f"{name} is {fixed[name]!r}, no {kind.__name__}")
        slot = Slot(fixed["class"], fixed["index"])
        if fixed["file_name"] != slot.file_name:
            raise ValueError(f"file_name is {fixed['file_name']!r}, not {slot.file_name!r}")
        return cls(slot=slot, seed=fixed["seed"], sha256=fixed["sha256"], details=values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A set's provenance: all that decides its images, then what making them took.

    `seconds` and `seconds_per_image` count the making of images alone, not the loading of models, and add up
    over resumed runs; `peak_memory_gib` is the process's (2^30 bytes). `licences` are those of the models and of the
    data, by name. `real_scores` holds, for every class and phrase, the 5, 50 and 95 per cent quantiles of the cosine on
    real images of the class, and `real_means` those of an image's mean over its phrases. `spread` and `real_spread`
    are the mean of 1 - cosine between embeddings of two images of a class, in the set and among real images. An image
    stands for `parts` x `parts` training images, its tiles (see `mosaic`). `exact` sets keep float32 images too.
    """

    format: int = FORMAT
    name: str
    method: Mapping[str, Any]
    data: Mapping[str, Any]
    classes: Mapping[str, tuple[str, ...]]
    images_per_class: int
    size: int
    seed: int
    finished: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)
    weights: tuple[Mapping[str, str], ...] = ()
    licences: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    seconds: float = 0.0
    seconds_per_image: float = 0.0
    peak_memory_gib: float = 0.0
    real_scores: Mapping[str, Mapping[str, tuple[float, ...]]] = field(default_factory=dict)
    real_means: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    real_spread: Mapping[str, float] = field(default_factory=dict)
    spread: Mapping[str, float] = field(default_factory=dict)
    parts: int = 1
    exact: bool = False

    @classmethod
    def load(cls, folder: Path | str) -> "Manifest":
        """Reads FOLDER/potstill.json; raises PotstillError that names the file and what is wrong in it."""
        folder = Path(folder)
        if not folder.is_dir():
            raise PotstillError(f"no such folder: {folder}")
        file = folder / MANIFEST
        if not file.exists():
            raise PotstillError(f"{folder} is not a distilled set: it has no {MANIFEST}")
        held = from_plain(cls, read_json(file), str(file))
        if held.format != FORMAT:
            raise PotstillError(f"{file}: unknown format {held.format}. Allowed: {FORMAT}.")
        for part, names in (("method", ["kind"]), ("data", ["name"]), ("classes", ["keys", "names"])):
            if lacking := [name for name in names if name not in getattr(held, part)]:
                raise PotstillError(f"{file}: {part} lacks {', '.join(lacking)}")
        if len(held.classes["keys"]) != len(held.classes["names"]) or held.images_per_class < 1:
            raise PotstillError(f"{file}: a set has a name for each key, and at least one image per class")
        return held

    def slots(self) -> list[Slot]:
        """Every place of the set, class by class."""
        return [Slot(key, index) for key in self.classes["keys"] for index in range(self.images_per_class)]


@dataclass(frozen=True, slots=True)
class DistilledSet:
    """A finished distilled set: its folder, its provenance and one record an image, class by class."""

    folder: Path
    manifest: Manifest
    records: tuple[Record, ...]

    @classmethod
    def load(cls, folder: Path | str) -> "DistilledSet":
        """Opens a set; raises PotstillError where it is missing, unfinished, malformed or not all on record."""
        folder = Path(folder)
        manifest = Manifest.load(folder)
        if not manifest.finished:
            raise PotstillError(f"{folder} is unfinished: run the same `potstill distill` again to finish it")
        records = tuple(read_records(folder / METADATA))
        count = len(manifest.classes["keys"]) * manifest.images_per_class
        if len(records) != count or {record.slot for record in records} != set(manifest.slots()):
            raise PotstillError(
                f"{folder / METADATA} does not hold a record for each of its images: {MENDED}"
            )
        return cls(folder, manifest, records)

    def first(self, images_per_class: int) -> "DistilledSet":
        """The same set cut to the first images of every class; raises PotstillError where it has fewer."""
        if not 1 <= images_per_class <= self.manifest.images_per_class:
            raise PotstillError(
                f"{self.folder} has {self.manifest.images_per_class} images per class, not {images_per_class}"
            )
        kept = tuple(record for record in self.records if record.slot.index < images_per_class)
        return DistilledSet(self.folder, self.manifest, kept)

    def images(self) -> Tensor:
        """All images as uint8 [n, 3, height, width], in the order of `records`, as a person sees them.

        Raises PotstillError where a file is missing or not the one on record.
        """
        arrays = [self._picture(record) for record in self.records]
        return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()

    def _picture(self, record: Record) -> np.ndarray:
        content, side = self._whole(record), self.manifest.size
        try:
            with Image.open(content) as image:
                if image.size != (side, side):
                    raise ValueError(f"it has {' x '.join(map(str, image.size))} px, the set {side} x {side}")
                return np.asarray(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            file = self.folder / record.slot.file_name
            raise PotstillError(f"{file} is no image of this set: {error}") from error

    def _whole(self, record: Record) -> io.BytesIO:
        file = self.folder / record.slot.file_name
        try:
            content = file.read_bytes()
        except OSError as error:
            raise PotstillError(f"cannot read {file} ({error.strerror}): {MENDED}") from None
        if hashlib.sha256(content).hexdigest() != record.sha256:
            raise PotstillError(f"{file} was altered, its SHA-256 is not the one on record: {MENDED}")
        return io.BytesIO(content)

    def examples(self, keys: Sequence[str]) -> tuple[Tensor, Tensor]:
        """What students train on: images and their labels among `keys`, int64 [n].

        Images are uint8, or float32 around [0, 1] where the method's own values were kept; tiles count as images.
        """
        images, labels = self._exact(), self.labels(keys)
        parts = self.manifest.parts
        if parts > 1:
            floats = images if images.is_floating_point() else images.float() / 255
            images, labels = unfolded(floats, parts), labels.repeat_interleave(parts**2)
        return images, labels

    def _exact(self) -> Tensor:
        file = self.folder / EXACT
        if not file.is_file() and not self.manifest.exact:
            return self.images()
        try:
            held = load_file(file)
            kept = torch.stack([held[record.slot.file_name] for record in self.records])
        except (OSError, SafetensorError, KeyError) as error:
            raise PotstillError(f"{file} does not hold the set's images ({error}): {MENDED}") from error
        if not torch.equal(rounded(kept), self.images()):
            raise PotstillError(f"{file} was altered: its images are not those of the PNG files: {MENDED}")
        return kept

    def labels(self, keys: Sequence[str]) -> Tensor:
        """Class positions among `keys`, int64 [n]; raises PotstillError for a class that only one of the two has."""
        place = {key: position for position, key in enumerate(keys)}
        own = dict.fromkeys(record.slot.key for record in self.records)
        made = f"{self.folder} was made from {self.manifest.data['name']} and"
        strange = sorted(own.keys() - place.keys())
        if strange:
            raise PotstillError(
                f"{made} holds classes that the data set named lacks: {', '.join(strange[:20])}"
            )
        lacking = [key for key in keys if key not in own]
        if lacking:
            raise PotstillError(
                f"{made} has no images of {len(lacking)} of the {len(keys)} classes asked for: "
                f"{', '.join(lacking[:20])}; name its own with --classes {','.join(list(own)[:20])}"
            )
        return torch.tensor([place[record.slot.key] for record in self.records])

    def require_sound(self) -> None:
        """Raises PotstillError that tells the first of the faults that `verify` finds."""
        faults = self.verify()
        if faults:
            told = "; ".join(faults[:5])
            raise PotstillError(f"{self.folder} is not as it was made ({len(faults)} faults): {told}")

    def verify(self) -> list[str]:
        """Every fault found, one sentence each: missing, altered and surplus files; an empty list is a sound set."""
        faults = []
        for record in self.records:
            file = self.folder / record.slot.file_name
            if not file.exists():
                faults.append(f"{file} is missing")
            elif sha256(file) != record.sha256:
                faults.append(f"{file} was altered: its SHA-256 is not the one on record")
        if not faults:
            try:
                self._exact()
            except PotstillError as error:
                faults.append(str(error))
        known = {self.folder / record.slot.file_name for record in self.records}
        surplus = [file for file in sorted(self.folder.glob("train/**/*.png")) if file not in known]
        return faults + [f"{file} belongs to no record" for file in surplus]


def rounded(images: Tensor) -> Tensor:
    """Float images around [0, 1] as uint8, cut to what that can hold; uint8 images as they are."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8) if images.is_floating_point() else images


def read_records(file: Path) -> list[Record]:
    """The records of a metadata file in its order; raises PotstillError that names the file, and the line if it can."""
    if not file.is_file():
        raise PotstillError(f"no such file: {file}: {MENDED}")
    records = []
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            records.append(Record.from_line(line))
        except (ValueError, KeyError) as error:
            raise PotstillError(f"{file}, line {number}: not a record ({error!r}): {MENDED}") from None
    return records
