"""The colours and typefaces of every page."""

from importlib.resources import files


def palette() -> str:
    """The style sheet that names them, for light and dark."""
    return (files("potstill.core") / "palette.css").read_text(encoding="utf-8")
