"""How a trained model comes into its folder: whole, and with its numbers beside it."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from potstill.core.files import read_json, write_json
from worlds.digits.autoencoder import BUNDLED

KEPT = ("README.md", "metrics.json")


def swap_in(name: str, write: Callable[[Path], object]) -> None:
    """Writes a model beside its folder, takes over the card and the numbers there, and swaps the two."""
    folder, fresh, old = (BUNDLED / f"{mark}{name}" for mark in ("", ".fresh.", ".old."))
    for rest in (fresh, old):
        shutil.rmtree(rest, ignore_errors=True)
    write(fresh)
    if folder.exists():
        for kept in filter(Path.exists, (folder / file for file in KEPT)):
            shutil.copy(kept, fresh)
        folder.replace(old)
    fresh.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def write_metrics(name: str, numbers: Mapping[str, Any]) -> None:
    """Adds numbers to those that a model's metrics.json has."""
    file = BUNDLED / name / "metrics.json"
    known = read_json(file) if file.exists() else {}
    write_json(file, known | dict(numbers))
    print(name, dict(numbers), flush=True)
