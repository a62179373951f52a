"""What the user asked to load, and which kind of reader that is for."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from potstill.core.errors import PotstillError
from potstill.core.progress import OnStep, silent

_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A request to a reader: a place (path, hub id, or nothing), and what to take of it.

    `classes` is a subset's name or keys with commas, None for all; `test` a second place that holds the test
    images; `skip_bad` leaves out images that cannot be read instead of raising.
    """

    place: str = ""
    classes: str | None = None
    test: str | None = None
    skip_bad: bool = False
    on_step: OnStep = silent


def kind_and_place(source: str, kinds: Iterable[str]) -> tuple[str, str]:
    """Splits "KIND", "KIND:PLACE" (as in digits, hub:ID, folder:PATH) or a bare path into kind and place.

    A kind's name goes before a folder of that name, which can be written "./digits". Raises PotstillError
    naming what was given, what is allowed and what is near.
    """
    kind, _, place = source.partition(":")
    if kind in kinds:
        return kind, place
    path = Path(source).expanduser()
    if source and path.is_dir():
        return ("hub" if _is_table(path) else "folder"), source
    if path.is_file() and path.suffix == ".parquet":
        return "hub", source
    raise _no_such_source(source, path, list(kinds))


def _is_table(folder: Path) -> bool:
    saved = any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))
    return saved or any(folder.glob("*.parquet")) or any(folder.glob("data/*.parquet"))


def _no_such_source(source: str, path: Path, kinds: list[str]) -> PotstillError:
    near = difflib.get_close_matches(source, kinds, n=1) + _near_paths(path)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    if not near and _HUB_ID.fullmatch(source):
        hint = f" For that name on the Hugging Face hub write 'hub:{source}'."
    what = "is neither a folder nor a .parquet file" if path.is_file() else "does not exist"
    return PotstillError(
        f"no data set {source!r}: as a path it {what}.{hint} Allowed: digits; an existing folder of images "
        "(ROOT/train/CLASS/*.png or ROOT/CLASS/*.png); a .parquet file or a folder of them; hub:ID[:CONFIG]."
    )


def _near_paths(path: Path) -> list[str]:
    if not path.name or not path.parent.is_dir():
        return []
    beside = [other for other in path.parent.iterdir() if other.is_dir() or other.suffix == ".parquet"]
    names = sorted(other.name for other in beside if other.name[0] != ".")
    return [str(path.with_name(name)) for name in difflib.get_close_matches(path.name, names, n=2)]
