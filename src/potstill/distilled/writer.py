"""How a distilled set comes to be: image by image, so that a killed run loses at most the batch in hand."""

import dataclasses
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.core.files import sha256, write_json, write_text, write_whole
from potstill.core.lock import LOCK
from potstill.core.settings import to_plain
from potstill.distilled.folders import hold_apart
from potstill.distilled.set import (
    EXACT,
    MANIFEST,
    METADATA,
    PARTIAL,
    DistilledSet,
    Manifest,
    Record,
    Slot,
    rounded,
)

DECIDING = ("format", "method", "data", "classes", "images_per_class", "size", "seed", "weights")


class Writer:
    """Opens a set's folder for making, or for going on where a killed run stopped or files were lost or altered.

    Raises PotstillError where the folder holds something else or a set made with other settings, and where its disk
    would lay two classes into one folder.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        self._records: dict[Slot, Record] = {}
        if (folder / MANIFEST).exists():
            self._go_on()
        elif folder.exists() and not all(map(_ours, folder.iterdir())):
            raise PotstillError(f"{folder} is not empty and not a distilled set: name another folder")
        else:
            write_json(folder / MANIFEST, to_plain(manifest))
        hold_apart(manifest.classes["keys"], folder)

    def _go_on(self) -> None:
        begun = Manifest.load(self.folder)
        before, now = to_plain(begun), to_plain(self.manifest)
        before["data"] = {**now["data"], **before["data"]}  # an older set tells less of its data and models
        models = {one["name"]: one for one in now["weights"]}
        before["weights"] = [{**models.get(one.get("name"), {}), **one} for one in before["weights"]]
        differing = [name for name in DECIDING if not _same(before[name], now[name])]
        if differing:
            told = "; ".join(f"{name}: {_difference(before[name], now[name])}" for name in differing)
            raise PotstillError(
                f"{self.folder} holds a set made with other settings ({told}): name another folder"
            )
        made_by, self.manifest = self.manifest, begun
        file = self.folder / (METADATA if begun.finished else PARTIAL)
        exact = self._exact_names()
        for record in _sound_records(file) if file.exists() else []:
            name = record.slot.file_name
            image = self.folder / name
            if image.is_file() and sha256(image) == record.sha256 and (exact is None or name in exact):
                self._records[record.slot] = record
        sound = [self._records[slot].to_line() + "\n" for slot in begun.slots() if slot in self._records]
        kept = "".join(sound)
        if begun.finished and not self.missing and file.read_bytes() == kept.encode():
            return
        write_text(self.folder / PARTIAL, kept)
        self.manifest = dataclasses.replace(begun, finished=False)
        if self.missing:
            versions = {name: _both(begun.versions.get(name), own) for name, own in made_by.versions.items()}
            self.manifest = dataclasses.replace(
                self.manifest,
                versions={**begun.versions, **versions},
                device=_both(begun.device, made_by.device),
            )
        if self.manifest != begun:
            write_json(self.folder / MANIFEST, to_plain(self.manifest))
        if begun.finished:
            (self.folder / METADATA).unlink(missing_ok=True)

    def _exact_names(self) -> set[str] | None:
        """The images that are kept as float32, those of the PNG files; None where the set keeps none.

        A broken file is taken away.
        """
        file = self.folder / EXACT
        if not file.exists():
            return set() if self.manifest.exact else None
        try:
            held = load_file(file)
            return {name for name, values in held.items() if _shows(self.folder / name, values)}
        except SafetensorError:
            file.unlink()
            return set()

    @property
    def missing(self) -> list[Slot]:
        """The places still to be filled, in order."""
        return [slot for slot in self.manifest.slots() if slot not in self._records]

    def add(
        self,
        made: Mapping[Slot, tuple[Tensor, Mapping[str, Any]]],
        seconds: float,
        exact: Mapping[Slot, Tensor] | None = None,
    ) -> None:
        """Keeps a batch for good: uint8 [3, height, width] images and their details, and the seconds it took.

        `exact` are the same images as float32, where 8 bits would not hold them.
        """
        records = []
        if exact:
            file = self.folder / EXACT
            values = (load_file(file) if file.exists() else {}) | {
                slot.file_name: image.contiguous() for slot, image in exact.items()
            }
            write_whole(file, lambda path: save_file(values, path))
        for slot, (image, details) in made.items():
            file = self.folder / slot.file_name
            write_whole(file, _png(image))
            records.append(Record(slot=slot, seed=self.manifest.seed, sha256=sha256(file), details=details))
        self.manifest = dataclasses.replace(
            self.manifest, seconds=self.manifest.seconds + seconds, exact=self.manifest.exact or bool(exact)
        )
        write_json(self.folder / MANIFEST, to_plain(self.manifest))
        self._append("".join(record.to_line() + "\n" for record in records))
        self._records.update({record.slot: record for record in records})

    def _append(self, lines: str) -> None:
        file = self.folder / PARTIAL
        try:
            with file.open("a", encoding="utf-8") as kept:
                kept.write(lines)
                kept.flush()
                os.fsync(kept.fileno())
        except OSError as error:
            raise PotstillError(f"cannot write {file}: {error.strerror}") from error

    def finish(self, **facts: Any) -> DistilledSet:
        """Writes metadata.jsonl and the final provenance, once every place is filled."""
        if self.missing:
            raise PotstillError(f"{self.folder}: {len(self.missing)} images are still missing")
        if not self.manifest.finished:
            slots = self.manifest.slots()
            lines = "".join(self._records[slot].to_line() + "\n" for slot in slots)
            write_text(self.folder / METADATA, lines)
            self.manifest = dataclasses.replace(
                self.manifest, finished=True, seconds_per_image=self.manifest.seconds / len(slots), **facts
            )
            write_json(self.folder / MANIFEST, to_plain(self.manifest))
            (self.folder / PARTIAL).unlink(missing_ok=True)
        return DistilledSet.load(self.folder)


def _ours(file: Path) -> bool:
    """Whether it is the lock, or what a kill left of the first write."""
    return file.name == LOCK or (file.name.startswith(f".{MANIFEST}.") and file.name.endswith(".partial"))


def _shows(picture: Path, values: Tensor) -> bool:
    """Whether a picture is the values in 8 bits."""
    try:
        shown = torch.from_numpy(np.array(Image.open(picture).convert("RGB"))).permute(2, 0, 1)
    except OSError:
        return False
    return torch.equal(shown, rounded(values))


def _png(image: Tensor) -> Any:
    encoded = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(encoded, format="PNG")
    return lambda path: path.write_bytes(encoded.getvalue())


def _sound_records(file: Path) -> list[Record]:
    records = []
    for line in file.read_bytes().splitlines():
        try:
            records.append(Record.from_line(line))
        except (ValueError, KeyError):
            continue
    return records


def _same(before: Any, now: Any) -> bool:
    """Whether settings are equal; one that an older set does not name yet was off."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        added = all(_off(value) for name, value in now.items() if name not in before)
        return added and all(name in now and _same(value, now[name]) for name, value in before.items())
    if isinstance(before, list) and isinstance(now, list):
        return len(before) == len(now) and all(map(_same, before, now))
    return before == now


def _both(before: str | None, now: str) -> str:
    """What a set was made by so far, and now."""
    known = before.split(", ") if before else []
    return ", ".join(known if now in known else [*known, now])


def _off(value: Any) -> bool:
    return all(map(_off, value.values())) if isinstance(value, Mapping) else not value


def _difference(before: Any, now: Any) -> str:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        return ", ".join(f"{name} {_difference(before.get(name), now.get(name))}" for name in names)
    told = [json.dumps(value, ensure_ascii=False) for value in (before, now)]
    return " -> ".join(text if len(text) < 60 else text[:57] + "..." for text in told)
