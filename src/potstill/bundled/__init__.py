"""The small trained models and concept banks that ship inside the package, each with its card."""

from pathlib import Path

from potstill.core.errors import unknown

ROOT = Path(__file__).parent


def models() -> dict[str, Path]:
    """The shipped models by name, for example "digits/dit"."""
    return {
        f"{card.parent.parent.name}/{card.parent.name}": card.parent
        for card in sorted(ROOT.glob("*/*/README.md"))
    }


def banks() -> dict[str, Path]:
    """The shipped concept banks by name, for example "digits"."""
    return {file.stem: file for file in sorted((ROOT / "concepts").glob("*.jsonl"))}


def resolve(source: str) -> str:
    """A model's location: an existing folder as it is, a shipped name as its folder, else a hub id ("owner/name").

    Raises PotstillError for what can be none of these.
    """
    if Path(source).is_dir():
        return source
    shipped = models()
    if source in shipped:
        return str(shipped[source])
    if (
        source.count("/") == 1
        and not source.startswith((".", "/", "~"))
        and source.split("/")[0] not in _worlds()
    ):
        return source
    raise unknown("model", source, [*shipped, "a folder", "a hub id owner/name"])


def whence(source: str) -> str:
    """Where a model that could not be loaded was looked for, in words."""
    place = resolve(source)
    return place if Path(place).is_dir() else f"the hub, as there is no folder {place}"


def _worlds() -> set[str]:
    return {name.split("/")[0] for name in models()}
