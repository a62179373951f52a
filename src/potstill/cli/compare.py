"""`compare`: saved evaluations side by side."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.terminal import Json, emit
from potstill.core.errors import PotstillError, unknown


class Intervals(StrEnum):
    """How intervals of differences are made."""

    t = "t"
    bootstrap = "bootstrap"


def compare(
    evaluations: Annotated[
        list[Path], typer.Argument(help="Evaluation files, or sets and folders that hold some.")
    ],
    baseline: Annotated[
        str | None, typer.Option(help="The name to compare with; the first by default.")
    ] = None,
    intervals: Annotated[
        Intervals, typer.Option(help="Intervals of differences: Student's t, or a BCa bootstrap.")
    ] = Intervals.t,
    as_json: Json = False,
) -> None:
    """Prints saved evaluations side by side: paired differences, intervals, p-values corrected for their number."""
    from potstill.evaluation.record import Evaluation
    from potstill.report import table

    files = [file for place in evaluations for file in _evaluation_files(place)]
    loaded = [Evaluation.load(file) for file in files]
    names = sorted({evaluation.name for evaluation in loaded})
    if baseline is not None and baseline not in names:
        raise unknown("baseline", baseline, names)
    emit(loaded, as_json, lambda: table(loaded, baseline or loaded[0].name, intervals.value))


def _evaluation_files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    found = sorted(file for file in place.glob("**/evaluations/*.json"))
    if not found:
        raise PotstillError(f"{place} holds no evaluations: run `potstill evaluate` first")
    return found
