"""One self-contained page: no request leaves it, no script but its own runs in it."""

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from potstill.core.errors import unknown
from potstill.core.files import write_text
from potstill.core.palette import palette
from potstill.evaluation.record import Evaluation
from potstill.report.payload import payload
from potstill.report.read import Arm, read_arm
from potstill.report.svg import embedded

SCRIPTS = (
    "dom.js",
    "hero.js",
    "gallery.js",
    "detail.js",
    "charts.js",
    "accuracy.js",
    "figures.js",
    "provenance.js",
    "main.js",
)


def page(
    sets: Sequence[Path | str],
    evaluations: Sequence[Path | str],
    out: Path | str,
    *,
    title: str,
    notes: Sequence[str] = (),
    baseline: str | None = None,
    figures: Sequence[Path | str] = (),
) -> Path:
    """Writes a self-contained HTML page of distilled sets, one arm each, and of saved evaluations.

    Sets and evaluations belong together by name. `baseline` is the name that others are first compared with,
    by default the first set that is not of random real images. Images beyond 3,000 are left out, and the page
    says so. `figures` are SVG files, such as `potstill figure` writes. Raises PotstillError for an unreadable set,
    evaluation or figure and for a baseline that nobody has.
    """
    arms = [read_arm(Path(folder)) for folder in sets]
    judged = [Evaluation.load(Path(file)) for file in evaluations]
    names = list(dict.fromkeys([arm.facts.name for arm in arms] + [one.name for one in judged]))
    if baseline is not None and baseline not in names:
        raise unknown("baseline", baseline, names)
    chosen = baseline or _first(arms, judged)
    shown = [embedded(Path(file)) for file in figures]
    content = payload(arms, judged, title=title, notes=notes, baseline=chosen) | {"figures": shown}
    write_text(Path(out), _html(title, content))
    return Path(out)


def _first(arms: Sequence[Arm], judged: Sequence[Evaluation]) -> str | None:
    named = [(arm.facts.name, arm.facts.kind) for arm in arms] + [(one.name, one.method) for one in judged]
    made = [name for name, kind in named if kind != "random"]
    return next(iter(made or [name for name, _ in named]), None)


def _html(title: str, content: object) -> str:
    script = "\n".join(["'use strict';", "{", *map(_static, SCRIPTS), "}"])
    style = palette() + _static("page.css")
    return Template(_static("page.html")).substitute(
        title=html.escape(title),
        policy=f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'",
        style=style,
        payload=_harmless(content),
        script=script,
    )


def _static(name: str) -> str:
    return (files("potstill.report") / "static" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _harmless(content: object) -> str:
    """ASCII JSON without a character that could open or end a tag or an entity."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
