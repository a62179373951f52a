"""Files that appear whole or not at all."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from safetensors import SafetensorError

from potstill.core.errors import PotstillError


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` on a temporary path beside `path`, flushes it to disk and renames it into place.

    Raises PotstillError where the place can't be written to.
    """
    if not path.name:
        raise PotstillError(f"cannot write a file to {str(path)!r}: that is a folder")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.touch()
            usual = partial.stat().st_mode
            write(partial)
            partial.chmod(usual)  # safetensors makes its files for their owner alone
            with partial.open("rb") as handle:
                os.fsync(handle.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise PotstillError(f"cannot write {path}: {error.strerror or error}") from error
    except (RuntimeError, SafetensorError) as error:  # torch's and safetensors', which may hide the system's
        reason = error.__context__ if isinstance(error.__context__, OSError) else error
        raise PotstillError(f"cannot write {path}: {getattr(reason, 'strerror', None) or reason}") from error


def tells_case(folder: Path) -> bool:
    """Whether two files of a folder may differ in upper and lower case alone, as on most of Linux."""
    with tempfile.NamedTemporaryFile(prefix=".case-", dir=folder) as probe:
        return not Path(probe.name).with_name(Path(probe.name).name.swapcase()).exists()


def write_text(path: Path, text: str) -> None:
    """Writes text as UTF-8, whole or not at all."""
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: object) -> None:
    """Writes a value as indented JSON, whole or not at all; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file; raises PotstillError that names the file where it is missing, no text or malformed."""
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PotstillError(f"no such file: {path}") from None
    except ValueError as error:
        raise PotstillError(f"{path} is not valid JSON: {error}") from None


def parse_json(text: str | bytes) -> Any:
    """JSON as its standard has it, which knows no NaN and no infinity; raises ValueError."""

    def refuse(number: str) -> NoReturn:
        raise ValueError(f"{number} is no number of JSON")

    return json.loads(text, parse_constant=refuse)


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, parted by line feeds alone: JSON lines may hold the other separators of Unicode.

    Raises PotstillError for a file of another encoding.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise PotstillError(f"{path} is not UTF-8: {error}") from None
    return lines[:-1] if lines[-1] == "" else lines


def require_own(folder: Path, begun: str) -> None:
    """Raises PotstillError for a folder that holds something, and not the file `begun` that a run of ours leaves first.

    Hidden files do not count.
    """
    held = (
        [file.name for file in folder.iterdir() if not file.name.startswith(".")] if folder.is_dir() else []
    )
    if held and begun not in held:
        raise PotstillError(
            f"{folder} is not empty ({', '.join(sorted(held)[:3])}) and not one to go on in: name another folder"
        )


def sha256(path: Path) -> str:
    """The hex SHA-256 of a file, or of a folder's files taken with their relative names in sorted order."""
    if path.is_file():
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in sorted(inner for inner in path.rglob("*") if inner.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{sha256(file)}\n".encode())
    return digest.hexdigest()
