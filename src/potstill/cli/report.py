"""`report`: the self-contained page."""

from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.terminal import out_console


def report(
    sets: Annotated[list[Path], typer.Argument(help="Distilled sets, each an arm of the page.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    title: Annotated[str, typer.Option(help="The page's title.")] = "potstill report",
    figures: Annotated[
        list[Path] | None, typer.Option("--figure", help="An SVG of `potstill figure`; again for more.")
    ] = None,
) -> None:
    """Writes the self-contained page: images, concept scores, accuracy, settings, timings."""
    from potstill.distilled import DistilledSet
    from potstill.report import page

    for folder in sets:
        DistilledSet.load(folder).require_sound()
    files = [file for folder in sets for file in sorted((folder / "evaluations").glob("*.json"))]
    out_console.tell(str(page(sets, files, out, title=title, figures=figures or ())))
