"""`evaluate`: students trained on sets under a named protocol."""

from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.terminal import Device, Json, Only, Test, emit, progress


def evaluate(
    sets: Annotated[list[Path], typer.Argument(help="Distilled sets.")],
    data: Annotated[str, typer.Option(help="Where the test images are.")] = "digits",
    test: Test = None,
    classes: Only = None,
    protocol: Annotated[str, typer.Option(help="rded@1 or hard@1.")] = "rded@1",
    student: Annotated[str, typer.Option(help="convnet-3, convnet-3-w32, resnet-18, ...")] = "convnet-3",
    teacher: Annotated[str | None, typer.Option(help="A trained net: shipped name or folder.")] = None,
    students: Annotated[int, typer.Option(min=1, help="How many, with seeds 0, 1, ...")] = 3,
    ipc: Annotated[int | None, typer.Option(help="Only the first images of every class.")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Fewer epochs than the protocol's; the result says so.")
    ] = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Trains students on distilled sets under a named protocol and tests them once on real images."""
    from potstill.data import load
    from potstill.evaluation import PROTOCOLS
    from potstill.nets.spec import Net
    from potstill.pipeline import evaluate_set
    from potstill.report import table

    chosen, spec = PROTOCOLS[protocol], Net.parse(student)
    done = []
    with progress() as on_step:
        real = load(data, classes=classes, test=test, on_step=on_step)
        taught = teacher or ("digits/teacher" if data == "digits" else None)
        for folder in sets:
            done.append(
                evaluate_set(
                    folder,
                    real,
                    protocol=chosen,
                    student=spec,
                    teacher=taught,
                    seeds=range(students),
                    images_per_class=ipc,
                    epochs=epochs,
                    device=device,
                    on_step=on_step,
                )
            )
    emit(done, as_json, lambda: table(done))
