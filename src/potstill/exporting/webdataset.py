"""Tar shards as the library webdataset reads them, the same bytes whenever they are written."""

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from potstill.core.progress import OnStep, Step
from potstill.distilled import DistilledSet, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class WebDataset:
    """Shards train-000000.tar, ... of `shard_size` images, each with members NUMBER.png, .cls and .json.

    NUMBER is the image's place in the set, .cls its label in digits and .json its line of metadata.jsonl. index.json
    lists shards and classes. Owner and time of every member are 0.
    """

    shard_size: int = 1000
    front: ClassVar[tuple[str, ...]] = (
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        '    path: "train-*.tar"',
    )
    record: ClassVar[str] = "record"

    def write(self, distilled: DistilledSet, folder: Path, on_step: OnStep) -> None:
        """Images lie class by class, as in the set: readers have to shuffle."""
        manifest, records = distilled.manifest, distilled.records
        keys = manifest.classes["keys"]
        labels = distilled.labels(keys).tolist()
        shards = []
        for first in range(0, len(records), self.shard_size):
            part = range(first, min(first + self.shard_size, len(records)))
            name = f"train-{len(shards):06d}.tar"
            with tarfile.open(folder / name, "w", format=tarfile.USTAR_FORMAT) as tar:
                for number in part:
                    for member, content in _members(distilled.folder, records[number], labels[number]):
                        _add(tar, f"{number:06d}.{member}", content)
                    on_step(Step(stage="export", index=number + 1, total=len(records)))
            shards.append({"file": name, "images": len(part)})
        classes = [
            {"key": key, "name": name} for key, name in zip(keys, manifest.classes["names"], strict=True)
        ]
        index = {"name": manifest.name, "images": len(records), "shards": shards, "classes": classes}
        (folder / "index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")

    def loading(self, name: str) -> str:
        """By webdataset."""
        return f"""```python
import glob

import webdataset

shards = sorted(glob.glob({json.dumps(f"{name}/train-*.tar")}))
train = webdataset.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("png", "cls", "json")
image, label, about = next(iter(train))
```

Images lie class by class: shuffle them. `index.json` lists the shards, and the classes in the order of the labels."""


def _members(folder: Path, record: Record, label: int) -> list[tuple[str, bytes]]:
    png = (folder / record.slot.file_name).read_bytes()
    return [("png", png), ("cls", str(label).encode()), ("json", record.to_line().encode())]


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
