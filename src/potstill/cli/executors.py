"""The options that say which processes do the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from potstill.core.devices import usable
from potstill.core.errors import PotstillError

if TYPE_CHECKING:
    from potstill.run import Executor

Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; with --on ray a worker's.")]
On = Annotated[str, typer.Option("--on", help="Who does the work: local (this process) or ray.")]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Ray's workers, a GPU each with --device cuda; by default all that fit."),
]
Address = Annotated[
    str | None, typer.Option(help="A Ray cluster, HOST:PORT or auto; by default Ray is started here.")
]


def executor(on: str, workers: int | None, address: str | None, device: str) -> Executor:
    """The executor of that name; raises PotstillError for an unknown one and options or a device that don't apply."""
    from potstill.run import EXECUTORS

    given = {"workers": workers, "address": address}
    if on == "local" and any(value is not None for value in given.values()):
        raise PotstillError("--workers and --address are for --on ray")
    if on == "local":
        usable(device)
    return EXECUTORS[on](**{name: value for name, value in given.items() if value is not None})
