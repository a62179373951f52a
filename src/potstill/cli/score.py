"""`score`: what of an accuracy is owed to the images, and what to labels and augmentation."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.terminal import (
    Device,
    Json,
    JudgedOn,
    Only,
    SkipBad,
    Test,
    data_of,
    emit,
    progress,
    teacher_or_shipped,
)

if TYPE_CHECKING:
    from potstill.scoring import Scored


def score(
    sets: Annotated[list[Path], typer.Argument(help="Distilled sets.")],
    scores: Annotated[str, typer.Option(help="Of lrs, ars, hlr and ior, with commas.")] = "lrs,ars,hlr,ior",
    data: JudgedOn = None,
    test: Test = None,
    classes: Only = None,
    protocol: Annotated[str, typer.Option(help="`potstill list protocols` has them.")] = "rded@1",
    student: Annotated[str, typer.Option(help="convnet-3, convnet-3-w32, resnet-18, ...")] = "convnet-3",
    teacher: Annotated[str | None, typer.Option(help="A trained net: shipped name or folder.")] = None,
    students: Annotated[int, typer.Option(min=1, help="How many a training, with seeds 0, 1, ...")] = 3,
    ipc: Annotated[int | None, typer.Option(min=1, help="Only the first images of every class.")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Fewer epochs than the protocol's; the result says so.")
    ] = None,
    weight: Annotated[
        float, typer.Option(min=0, max=1, help="Of the first of the two parts of lrs and ars.")
    ] = 0.5,
    pool: Annotated[
        Path, typer.Option(help="Where trainings on random and all real images are kept.")
    ] = Path("runs/pool"),
    skip_bad: SkipBad = False,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Scores distilled sets beyond accuracy, as DD-Ranking defines it, from one pool of trainings."""
    from potstill.data import load
    from potstill.evaluation import PROTOCOLS
    from potstill.nets.spec import Net
    from potstill.scoring import score_set

    chosen, place = PROTOCOLS[protocol], data_of(sets, data)
    if epochs is not None:
        chosen = chosen.scaled({"training.epochs": epochs})
    done = []
    with progress() as on_step:
        real = load(place, classes=classes, test=test, skip_bad=skip_bad, on_step=on_step)
        for folder in sets:
            done.append(
                score_set(
                    folder,
                    real,
                    scores=[name.strip() for name in scores.split(",")],
                    protocol=chosen,
                    student=Net.parse(student),
                    teacher=teacher_or_shipped(teacher, place),
                    seeds=range(students),
                    pool=pool,
                    images_per_class=ipc,
                    weight=weight,
                    device=device,
                    on_step=on_step,
                )
            )
    emit(done, as_json, lambda: _text(done))


def _text(done: Sequence["Scored"]) -> str:
    from potstill.evaluation.robustness import SCORES
    from potstill.report.table import aligned

    first = done[0]
    judge = f"protocol {first.protocol}; student {first.student}"
    teacher = f"; teacher {first.teacher}" if first.teacher else ""
    titles = "\n".join(f"{one.score}: {SCORES[one.score].title}" for one in first.scores)
    names = [f"{one.name}, seed {one.set_seed}, ipc {one.ipc}" for one in done]
    by_score = [
        [_spread(each.mean, each.deviation, len(each.values), 1) for each in column]
        for column in zip(*(one.scores for one in done), strict=True)
    ]
    trained = list(first.trainings)
    accuracies = [
        [_spread(found.mean, found.deviation, len(found.runs), 100) for found in column]
        for column in ([one.trainings[condition] for one in done] for condition in trained)
    ]
    return "\n\n".join(
        [
            f"{first.data}; {judge}{teacher}; weight {first.weight:g}",
            aligned(["name", *(one.score for one in first.scores)], [names, *by_score]),
            titles,
            "Trained on, accuracy in per cent:",
            aligned(["name", *trained], [names, *accuracies]),
        ]
    )


def _spread(mean: float, deviation: float | None, n: int, unit: float) -> str:
    digits = 1 if unit == 100 else 3
    spread = "" if deviation is None else f" ± {unit * deviation:.{digits}f}"
    return f"{unit * mean:.{digits}f}{spread} (n {n})"
