"""What the verbs share: consoles, options, progress bars, and how a result is printed."""

import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from potstill.core.devices import usable
from potstill.core.errors import PotstillError
from potstill.core.progress import OnStep, Step
from potstill.core.settings import to_plain

LOGGED = 30.0
"""Seconds between two lines of progress in a log."""

_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Text whose control characters, which could command a terminal or turn its reading direction, are spelled out."""
    return _COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class Plain(Console):
    """A console that prints text as it is, whoever it comes from: no markup, no emoji, no commands to the terminal."""

    def __init__(self, *, stderr: bool) -> None:
        super().__init__(emoji=False, markup=False, highlight=False, stderr=stderr)

    def tell(self, text: str, label: str = "", style: str = "") -> None:
        """Prints lines unbroken, behind a label in a style of its own."""
        self.print(Text.assemble((label, style), visible(text)), soft_wrap=True)


out_console, err_console = Plain(stderr=False), Plain(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Data = Annotated[
    str | None, typer.Option(help="digits, an image folder, a parquet file or folder, or hub:ID.")
]
JudgedOn = Annotated[
    str | None,
    typer.Option("--data", help="Where the test images are, and the classes in their order; else digits."),
]
Test = Annotated[str | None, typer.Option(help="A folder of test images, where the data has none.")]
Only = Annotated[str | None, typer.Option("--classes", help="A named subset or comma-separated class keys.")]
TeacherClasses = Annotated[
    str | None,
    typer.Option(
        help="What the teacher's outputs are, where its own list is wrong: a word (docs), a file, or keys with commas."
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.", callback=usable)]
TrustPickle = Annotated[
    bool,
    typer.Option("--trust-pickle", help="Let a generator's pickle run its code here, with your rights."),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Go on without images that can't be read.")]


def finite(option: typer.CallbackParam, number: float) -> float:
    """The number itself; raises PotstillError that names its option where it is not finite."""
    if not math.isfinite(number):
        raise PotstillError(f"{option.opts[0]} takes a finite number, not {number}")
    return number


def data_of(sets: Sequence[str | Path], data: str | None) -> str:
    """The data that sets are judged on: those named, else digits.

    Raises PotstillError for a set that can't be opened, and where none are named for one that was made from others.
    """
    from potstill.data.foreign import made_from

    for source in map(str, sets):
        own = made_from(source) or "digits"
        if data is None and own.partition(":")[0] != "digits":
            raise PotstillError(f"{source} was made from {own}: say where that is with --data")
    return data or "digits"


def teacher_or_shipped(teacher: str | None, data: str) -> str | None:
    """The teacher named; where none is, the shipped one of the data, if there is one."""
    return teacher or ("digits/teacher" if data == "digits" else None)


@contextmanager
def progress() -> Iterator[OnStep]:
    """A bar for each stage, with rate and time left; where standard error is no terminal, a line every 30 s.

    What libraries print meanwhile goes to standard error: standard output is for results.
    """
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[told]}"),
    )
    bars = Progress(*columns, console=err_console, transient=True, disable=not err_console.is_terminal)
    with redirect_stdout(sys.stderr), bars:
        tasks: dict[str, Any] = {}
        logged = time.monotonic()

        def on_step(step: Step) -> None:
            nonlocal logged
            if step.stage not in tasks:
                tasks[step.stage] = bars.add_task(step.stage, total=step.total, told="")
            rate = bars.tasks[tasks[step.stage]].speed
            told = [f"{rate:.1f}/s"] if rate else []
            told += [f"{name} {value:.3g}" for name, value in step.scalars.items()]
            bars.update(tasks[step.stage], completed=step.index, total=step.total, told="  ".join(told))
            if not err_console.is_terminal and time.monotonic() - logged > LOGGED:
                logged = time.monotonic()
                line = " ".join([step.stage, f"{step.index}/{step.total}", *told])
                err_console.tell(line)

        try:
            yield on_step
        except KeyboardInterrupt:
            bars.stop()
            err_console.tell("interrupted: the same command goes on from here")
            raise typer.Exit(130) from None


def emit(value: Any, as_json: bool, text: Callable[[], str]) -> None:
    """Prints a result on standard output, as JSON or as text."""
    if as_json:
        sys.stdout.write(json.dumps(to_plain(value), indent=2, ensure_ascii=False) + "\n")
    else:
        out_console.tell(text())
