"""What a long job leaves behind, in one file that is always whole."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from potstill.core.errors import PotstillError
from potstill.core.files import write_whole


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Writes tensors and plain values, whole or not at all."""

    def write(partial: Path) -> None:
        with partial.open("wb") as file:  # given a path torch would not tell why it failed
            torch.save(state, file)

    write_whole(path, write)


def load_state(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Reads what `save_state` wrote; raises PotstillError that names the file where it is broken."""
    try:
        if not zipfile.is_zipfile(path):
            raise EOFError("it is cut short, or no such file at all")
        return torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise PotstillError(f"{path} is no whole checkpoint: delete it to start over ({error})") from error
