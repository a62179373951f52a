"""`demo`: the whole flow on real digits, offline."""

from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.terminal import out_console, progress


def demo(
    out: Annotated[Path, typer.Option(help="Where the demo's sets and page go.")] = Path("runs/demo"),
    full: Annotated[
        bool, typer.Option("--full", help="The whole rded@1 protocol in place of the short one.")
    ] = False,
) -> None:
    """Distills real handwritten digits with and without concepts, offline, and shows the result in a page."""
    from potstill.demo import run_demo

    with progress() as on_step:
        result = run_demo(out, full=full, on_step=on_step)
    out_console.tell(result.table)
    out_console.tell(f"\nThe page: {result.page.resolve()}")
