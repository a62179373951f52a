"""A Hugging Face data set: parquet files that hold images, class names and what is known of each image."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from potstill.core.progress import OnStep, Step
from potstill.data.tables import no_bars
from potstill.distilled import DistilledSet


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFace:
    """Writes data/train-*.parquet of `shard_size` images each.

    Columns: `image` (the PNG file's bytes), `label` (a ClassLabel named by class keys, in the set's order), and the
    fields of metadata.jsonl but for the class.
    """

    shard_size: int = 1000
    front: ClassVar[tuple[str, ...]] = (
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        '    path: "data/train-*.parquet"',
    )
    record: ClassVar[str] = "record"

    def write(self, distilled: DistilledSet, folder: Path, on_step: OnStep) -> None:
        """All shards have the same columns, of types that fit every image."""
        from datasets import ClassLabel, Dataset, Features, Image

        rows = _rows(distilled)
        known = Dataset.from_list(rows).features
        label = ClassLabel(names=list(distilled.manifest.classes["keys"]))
        features = Features({"image": Image(), "label": label} | known | {"label": label})
        count = -(-len(rows) // self.shard_size)
        (folder / "data").mkdir()
        with no_bars():
            for shard in range(count):
                part = rows[shard * self.shard_size : (shard + 1) * self.shard_size]
                held = [{"image": _image(distilled.folder / row["file_name"]), **row} for row in part]
                file = folder / "data" / f"train-{shard:05d}-of-{count:05d}.parquet"
                Dataset.from_list(held, features=features).to_parquet(file)
                on_step(Step(stage="export", index=shard + 1, total=count))

    def loading(self, name: str) -> str:
        """By datasets."""
        return f"""```python
import datasets

train = datasets.load_dataset({json.dumps(f"./{name}")}, split="train")
train[0]  # {{"image": <PIL image>, "label": 0, "index": 0, ...}}
train.features["label"].names  # the class keys
```"""


def _rows(distilled: DistilledSet) -> list[dict[str, Any]]:
    """What is known of each image, with the same fields for all."""
    lines = [json.loads(record.to_line()) for record in distilled.records]
    fields = [name for name in dict.fromkeys(name for line in lines for name in line) if name != "class"]
    labels = distilled.labels(distilled.manifest.classes["keys"]).tolist()
    return [
        {"label": label} | {name: line.get(name) for name in fields}
        for label, line in zip(labels, lines, strict=True)
    ]


def _image(file: Path) -> dict[str, Any]:
    return {"bytes": file.read_bytes(), "path": file.name}
