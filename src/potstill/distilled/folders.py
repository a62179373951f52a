"""The folders of classes: names that every disk takes, one for each class."""

import hashlib
import urllib.parse
from collections.abc import Iterable
from pathlib import Path

from potstill.core.errors import PotstillError
from potstill.core.files import tells_case

RESERVED = {
    "CON",
    "PRN",
    "AUX",
    "NUL",
    *(f"{port}{number}" for port in ("COM", "LPT") for number in range(10)),
}
"""Names that Windows keeps for devices, whatever their ending."""


def folder_name(key: str) -> str:
    """A class key as a folder name: itself where that is plain, percent-encoded where it is not."""
    safe = urllib.parse.quote(key, safe=" -_()+,=@")
    reserved = safe.split(".")[0].strip().upper() in RESERVED
    if reserved or safe.startswith((".", " ")) or safe.endswith((".", " ")) or len(safe) > 200 or not safe:
        return f"class-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    return safe


def hold_apart(keys: Iterable[str], folder: Path) -> None:
    """Raises PotstillError where two classes would share a folder inside an existing one, whose disk knows one case."""
    names: dict[str, str] = {}
    for key in keys:
        other = names.setdefault(folder_name(key).casefold(), key)
        if other != key and not tells_case(folder):
            raise PotstillError(
                f"{folder} is on a disk that does not tell upper from lower case: classes {other!r} and {key!r} would "
                "be one folder; name a folder on another disk"
            )
