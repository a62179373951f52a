"""A plain image folder: a folder for each class, and nothing that making or judging the set left behind."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from potstill.core.progress import OnStep, Step
from potstill.distilled import DistilledSet
from potstill.distilled.folders import folder_name, hold_apart
from potstill.report.card import image_folder


@dataclass(frozen=True, slots=True)
class Folder:
    """Copies `train/CLASS/INDEX.png`, classes named as in the set, and lists them in classes.json.

    It stays a distilled set: `potstill evaluate` reads it.
    """

    front: ClassVar[tuple[str, ...]] = ()
    record: ClassVar[str] = ""

    def write(self, distilled: DistilledSet, folder: Path, on_step: OnStep) -> None:
        """One file an image; readers number the folders in the sorted order of their names, as classes.json says."""
        hold_apart(distilled.manifest.classes["keys"], folder)
        total = len(distilled.records)
        for number, record in enumerate(distilled.records, 1):
            file = folder / record.slot.file_name
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(distilled.folder / record.slot.file_name, file)
            on_step(Step(stage="export", index=number, total=total))
        listed = sorted((folder_name(key), key) for key in distilled.manifest.classes["keys"])
        classes = [{"label": label, "folder": name, "key": key} for label, (name, key) in enumerate(listed)]
        (folder / "classes.json").write_text(json.dumps(classes, indent=2) + "\n", encoding="utf-8")

    def loading(self, name: str) -> str:
        """As an image folder."""
        return image_folder(name) + "\n\n`classes.json` tells the class key of each label and folder."
