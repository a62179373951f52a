"""The command line: verbs are stages, one file each."""

import io
import os
import sys
import warnings
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer

from potstill.cli import (
    buffer,
    compare,
    concepts,
    convert,
    demo,
    distill,
    evaluate,
    export,
    figure,
    finetune,
    label,
    parts,
    report,
    score,
    sweep,
    teach,
)
from potstill.cli.terminal import err_console, out_console
from potstill.core.errors import PotstillError
from potstill.core.memory import keep_freed_memory, out_of_memory

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _tell_version(asked: bool) -> None:
    if asked:
        out_console.tell(f"potstill {version('potstill')}")
        raise typer.Exit


@app.callback()
def potstill(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Distill a large labelled image set into a few images per class that train a network nearly as well."""


app.command()(demo.demo)
app.command("list")(parts.list_parts)
app.command()(parts.show)
app.add_typer(concepts.concepts, name="concepts")
app.command()(distill.distill)
app.command()(teach.teach)
app.command()(buffer.buffer)
app.add_typer(finetune.finetune, name="finetune")
app.command()(convert.convert)
app.command()(label.label)
app.command()(evaluate.evaluate)
app.command()(score.score)
app.command()(compare.compare)
app.command()(sweep.sweep)
app.add_typer(figure.figure, name="figure")
app.command()(report.report)
app.command()(export.export)


def main() -> None:
    """Runs the command line: 0 done, 2 wrong use or input, or classes that failed, 130 interrupted."""
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    if not sys.warnoptions:  # python -W shows what libraries warn their callers of
        warnings.simplefilter("ignore")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    keep_freed_memory()
    try:
        app()
    except PotstillError as error:
        _fail(str(error))
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
        _fail(f"cannot use {error.filename}: {error.strerror}")
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        _fail(
            f"out of memory: ask for fewer or smaller images at a time ({' '.join(str(error).split())[:200]})"
        )


def _fail(told: str) -> NoReturn:
    err_console.tell(told, "error: ", "red")
    sys.exit(2)
