"""`compare`: saved evaluations side by side."""

from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.terminal import Json, emit
from potstill.core.errors import PotstillError, unknown


def compare(
    evaluations: Annotated[
        list[Path], typer.Argument(help="Evaluation files, or sets and folders that hold some.")
    ],
    baseline: Annotated[
        str | None, typer.Option(help="The name to compare with; the first by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Prints saved evaluations side by side, with paired differences and their intervals."""
    from potstill.evaluation.record import Evaluation
    from potstill.report import table

    files = [file for place in evaluations for file in _evaluation_files(place)]
    loaded = [Evaluation.load(file) for file in files]
    names = sorted({evaluation.name for evaluation in loaded})
    if baseline is not None and baseline not in names:
        raise unknown("baseline", baseline, names)
    emit(loaded, as_json, lambda: table(loaded, baseline=baseline or loaded[0].name))


def _evaluation_files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    found = sorted(file for file in place.glob("**/evaluations/*.json"))
    if not found:
        raise PotstillError(f"{place} holds no evaluations: run `potstill evaluate` first")
    return found
