"""A finished set in the shape that other libraries load; one format is one file and one line."""

from pathlib import Path
from typing import ClassVar, Protocol

from potstill.core.progress import OnStep
from potstill.core.table import Table
from potstill.distilled import DistilledSet

FORMATS = Table(
    "export format",
    {
        "huggingface": "potstill.exporting.huggingface:HuggingFace",
        "webdataset": "potstill.exporting.webdataset:WebDataset",
        "folder": "potstill.exporting.folder:Folder",
    },
)
"""Formats: frozen dataclasses of their settings."""


class Format(Protocol):
    """How images and labels are laid out in a folder.

    `front` are lines for the front matter of the card, `record` is the subfolder of potstill.json and metadata.jsonl.
    """

    front: ClassVar[tuple[str, ...]]
    record: ClassVar[str]

    def write(self, distilled: DistilledSet, folder: Path, on_step: OnStep) -> None:
        """Writes the images and their labels, the positions of the set's class keys, into an empty folder."""
        ...

    def loading(self, name: str) -> str:
        """The card's section on loading a folder of that name, as markdown without its title."""
        ...
