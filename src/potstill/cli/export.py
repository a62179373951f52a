"""`export`: a set in the shape that other libraries load."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.terminal import Json, emit, err_console, progress
from potstill.core.errors import PotstillError


def export(
    source: Annotated[Path, typer.Argument(metavar="SET", help="A finished distilled set.")],
    out: Annotated[Path, typer.Argument(help="The new folder.")],
    to: Annotated[str, typer.Option(help="huggingface, webdataset or folder.")],
    shard_size: Annotated[int | None, typer.Option(min=1, help="Images a shard, usually 1000.")] = None,
    license: Annotated[
        str | None, typer.Option(help='The licence you give it, such as cc-by-4.0; else "unknown".')
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="Upload it to this data set of the Hugging Face hub."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Writes a set with its card, provenance and soft labels for other libraries, and tells whose terms it is under."""
    from potstill.exporting import FORMATS, hub
    from potstill.exporting.export import export as write

    kind = FORMATS[to]
    if shard_size is None:
        form = kind()
    elif "shard_size" in {field.name for field in dataclasses.fields(kind)}:
        form = kind(shard_size=shard_size)
    else:
        raise PotstillError(f"--to {to} writes no shards: leave out --shard-size")
    with progress() as on_step:
        done = write(source, out, form, license=license, on_step=on_step)
    for warning in done.warnings:
        err_console.tell(warning, "before publishing: ", "yellow")
    emit(done, as_json, lambda: f"{done.folder}: {done.images} images, {done.bytes:,} bytes")
    if push is not None:
        err_console.tell(hub.push(out, push))
