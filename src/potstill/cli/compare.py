"""`compare`: saved evaluations side by side."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.terminal import Json, emit
from potstill.core.errors import unknown


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
    from potstill.evaluation.record import load_evaluations
    from potstill.report import table
    from potstill.report.table import listed

    loaded = load_evaluations(evaluations)
    names = sorted({evaluation.name for evaluation in loaded})
    if baseline is not None and baseline not in names:
        raise unknown("baseline", baseline, names)
    base = baseline or loaded[0].name
    shown = listed(loaded, base, intervals.value)
    emit(shown, as_json, lambda: table(loaded, base, intervals.value))
