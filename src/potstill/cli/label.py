"""`label`: a teacher's labels for every view, kept beside a set's images."""

from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.executors import Address, Device, On, Workers, executor
from potstill.cli.terminal import (
    Json,
    JudgedOn,
    Only,
    SkipBad,
    TeacherClasses,
    Test,
    data_of,
    emit,
    progress,
    teacher_or_shipped,
)


def label(
    sets: Annotated[list[Path], typer.Argument(help="Distilled sets.")],
    teacher: Annotated[str | None, typer.Option(help="A trained net: shipped name or folder.")] = None,
    data: JudgedOn = None,
    test: Test = None,
    classes: Only = None,
    protocol: Annotated[str, typer.Option(help="The protocol that will read them.")] = "fkd@1",
    teacher_classes: TeacherClasses = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Fewer epochs than the protocol's.")] = None,
    seed: Annotated[int, typer.Option(help="The seed of the views.")] = 0,
    skip_bad: SkipBad = False,
    device: Device = "cpu",
    on: On = "local",
    workers: Workers = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Asks a teacher about every view that a training will show, and stores what it says in a small file."""
    from potstill.data import load
    from potstill.evaluation import PROTOCOLS
    from potstill.labelling import label_set

    chosen, where = PROTOCOLS[protocol], executor(on, workers, address, device)
    place, done = data_of(sets, data), []
    with progress() as on_step:
        real = load(place, classes=classes, test=test, skip_bad=skip_bad, on_step=on_step)
        for folder in sets:
            told = label_set(
                folder,
                real,
                protocol=chosen,
                teacher=teacher_or_shipped(teacher, place),
                teacher_classes=teacher_classes,
                epochs=epochs,
                seed=seed,
                device=device,
                on=where,
                on_step=on_step,
            )
            done.append(told)
    emit(
        done,
        as_json,
        lambda: "\n".join(
            f"{one.file}: {one.views} views, {one.bytes} bytes, {one.smaller:.1f} times smaller than as published; "
            f"the teacher names {100 * one.teacher_accuracy:.1f} % of the test images right"
            for one in done
        ),
    )
