"""`evaluate`: students trained on sets under a named protocol."""

import itertools
from typing import TYPE_CHECKING, Annotated, Any

import typer

from potstill.cli.terminal import (
    Device,
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

if TYPE_CHECKING:
    from potstill.evaluation.record import Evaluation


def evaluate(
    sets: Annotated[
        list[str],
        typer.Argument(help="Distilled sets, or any image folder, parquet file or folder, or hub:ID."),
    ],
    data: JudgedOn = None,
    test: Test = None,
    classes: Only = None,
    protocol: Annotated[str, typer.Option(help="See `potstill list protocols`.")] = "rded@1",
    student: Annotated[
        list[str] | None,
        typer.Option(
            help="A net such as convnet-3; again for more; `all` those of the protocol's source. Its first by default."
        ),
    ] = None,
    teacher: Annotated[str | None, typer.Option(help="A trained net: shipped name or folder.")] = None,
    students: Annotated[int, typer.Option(min=1, help="How many of each, with seeds 0, 1, ...")] = 3,
    ipc: Annotated[int | None, typer.Option(min=1, help="Only the first images of every class.")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Fewer epochs than the protocol's; the result says so.")
    ] = None,
    habit: Annotated[
        bool,
        typer.Option("--habit", help="Also the best of the looks that the source takes at the test images."),
    ] = False,
    class_order: Annotated[
        str | None,
        typer.Option(help="What classes called by numbers are: a word (docs), a file, or keys with commas."),
    ] = None,
    teacher_classes: TeacherClasses = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="The side in px at which all images are seen.")
    ] = None,
    skip_bad: SkipBad = False,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Trains students on distilled sets under a named protocol and tests them once on real images."""
    from potstill.data import load
    from potstill.evaluation import PROTOCOLS
    from potstill.nets.spec import Net
    from potstill.pipeline import evaluate_set
    from potstill.report import table

    chosen, place = PROTOCOLS[protocol], data_of(sets, data)
    names = chosen.students if student == ["all"] else student or chosen.students[:1]
    asked: dict[str, Any] = {"images_per_class": ipc, "epochs": epochs, "habit": habit, "size": size}
    asked |= {"class_order": class_order, "teacher_classes": teacher_classes, "skip_bad": skip_bad}
    asked |= {"protocol": chosen, "teacher": teacher_or_shipped(teacher, place), "seeds": range(students)}
    done = []
    with progress() as on_step:
        real = load(place, classes=classes, test=test, skip_bad=skip_bad, on_step=on_step)
        for source, spec in itertools.product(sets, [Net.parse(name) for name in names]):
            done.append(evaluate_set(source, real, student=spec, device=device, on_step=on_step, **asked))
    emit(done, as_json, lambda: _told(done, table(done)))


def _told(done: "list[Evaluation]", shown: str) -> str:
    """The table, and below it how well the teacher knows the test images."""
    known = sorted({one.teacher_accuracy for one in done if one.teacher_accuracy is not None})
    if not known:
        return shown
    return f"{shown}\nThe teacher names {', '.join(f'{100 * one:.1f}' for one in known)} % of the test images right."
