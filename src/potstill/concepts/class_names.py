"""The classes to ask about, from a text file; and which names can be asked about."""

import unicodedata
from pathlib import Path

from potstill.core.errors import PotstillError
from potstill.data.real import Classes

_UNFIT = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of a character, line and paragraph ends


def read_class_names(file: Path) -> Classes:
    """Reads "key<TAB>name" or "name" a line, in UTF-8; empty lines are passed over.

    Raises PotstillError that names the file for one that cannot be read or holds no names, and for a repeated key.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise PotstillError(f"cannot read class names from {file}: {error}") from None
    pairs = [line.partition("\t") for line in lines if line]
    if not pairs:
        raise PotstillError(f"{file} holds no class names; it takes 'key<TAB>name' or 'name' a line")
    return Classes(
        tuple(key.strip() for key, _, _ in pairs), tuple(name.strip() or key for key, _, name in pairs)
    )


def require_names(classes: Classes) -> None:
    """Raises PotstillError for an empty name and one with control characters, which no line of a bank can hold."""
    for key, name in zip(classes.keys, classes.names, strict=True):
        if not name.strip() or any(unicodedata.category(letter) in _UNFIT for letter in key + name):
            raise PotstillError(f"class {key!r} cannot be asked about: its name is {name!r}")
