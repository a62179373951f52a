"""`figure`: saved sets and evaluations as PNG and SVG."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.terminal import Device, JudgedOn, Only, SkipBad, data_of, out_console
from potstill.core.errors import PotstillError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from potstill.distilled import Manifest
    from potstill.report.figures import Point, Reference

figure = typer.Typer(help="Saved sets and evaluations as PNG and SVG.", no_args_is_help=True)

Out = Annotated[Path, typer.Option(help="FILE.png or FILE.svg; both where it has no suffix.")]
Title = Annotated[str, typer.Option(help="The line above the figure.")]


@figure.command("curve")
def figure_curve(
    places: Annotated[
        list[Path], typer.Argument(help="Sweeps, evaluation files, or sets and folders that hold some.")
    ],
    over: Annotated[str, typer.Option(help="The field along the x axis.")] = "images_per_class",
    seconds: Annotated[
        bool,
        typer.Option(
            "--seconds", help="What making the sets took along the x axis, at each value of --over."
        ),
    ] = False,
    level: Annotated[
        list[Path] | None,
        typer.Option(help="An evaluation or a set drawn as a level, such as the full data."),
    ] = None,
    out: Out = Path("runs/curve"),
    title: Title = "",
) -> None:
    """Draws accuracy against images per class, or against any field of a sweep, with 95 % intervals."""
    from potstill.evaluation.record import load_evaluations
    from potstill.report.figures import Reference, curve

    label = {"images_per_class": "images per class"}.get(over, over.removeprefix("method."))
    label = f"seconds a set, by {label}" if seconds else label
    levels = [
        Reference(f"{one.name}, {one.ipc} per class", one.accuracies) for one in load_evaluations(level or [])
    ]
    points, others = _points(places, over, seconds)
    _write(curve(points, title=title, x_label=label, references=[*others, *levels]), out)


@figure.command("tsne")
def figure_tsne(
    sets: Annotated[list[Path], typer.Argument(help="Two or three distilled sets.")],
    data: JudgedOn = None,
    classes: Only = None,
    features: Annotated[
        str, typer.Option(help="A CLIP or a trained net: shipped name, folder or hub id.")
    ] = "digits/clip",
    real: Annotated[int, typer.Option(min=1, help="Real training images a class.")] = 50,
    out: Out = Path("runs/tsne"),
    title: Title = "",
    skip_bad: SkipBad = False,
    device: Device = "cpu",
) -> None:
    """Draws sets among real images by t-SNE of an encoder's or a net's features."""
    from potstill.data import load
    from potstill.distilled import DistilledSet
    from potstill.methods.features import load_features
    from potstill.report.figures import tsne
    from potstill.report.figures.tsne import cloud, real_cloud

    loaded = [DistilledSet.load(folder) for folder in sets]
    images = load(data_of(sets, data), classes=classes, skip_bad=skip_bad)
    seen = load_features(features, device)
    clouds = [real_cloud(images, seen, per_class=real, size=loaded[0].manifest.size)]
    clouds += [cloud(one, images.classes.keys, seen) for one in loaded]
    _write(tsne(clouds, title=title, classes=images.classes.names, features=features), out)


@figure.command("time")
def figure_time(
    sets: Annotated[list[Path], typer.Argument(help="Distilled sets, or folders that hold some.")],
    baseline: Annotated[
        str | None, typer.Option(help="The name whose time is 1; the first by default.")
    ] = None,
    out: Out = Path("runs/time"),
    title: Title = "",
) -> None:
    """Draws the seconds per image of finished sets."""
    from potstill.report.figures import time_bars

    _write(
        time_bars(
            [manifest for place in sets for manifest in _manifests(place)], title=title, baseline=baseline
        ),
        out,
    )


def _points(places: Sequence[Path], over: str, seconds: bool) -> "tuple[list[Point], list[Reference]]":
    """What is drawn along the field, or along the seconds it took, and as levels what has no such field."""
    from potstill.evaluation.record import load_evaluations
    from potstill.report.figures import Reference, points
    from potstill.sweeps import Sweep

    sweeps = [(place, Sweep.load(place)) for place in places if (place / "sweep.json").is_file()]
    alone = [place for place in places if not (place / "sweep.json").is_file()]
    if over == "images_per_class" and seconds:
        raise PotstillError("--seconds needs a field of a sweep: name it with --over")
    if over == "images_per_class":
        return points(
            [*(one for place, sweep in sweeps for one in sweep.evaluations(place)), *load_evaluations(alone)]
        ), []
    if alone:
        raise PotstillError(f"{alone[0]} holds no sweep.json: without, only images_per_class can be drawn")
    evaluations = [one for place, sweep in sweeps for one in sweep.evaluations(place)]
    held = {name: place for _, sweep in sweeps for name, place in sweep.places(over).items()}
    placed = {name: place for name, place in held.items() if place is not None}
    if seconds:
        took = {name: time for place, sweep in sweeps for name, time in sweep.seconds(place).items()}
        placed = {name: (line, took[name]) for name, (line, _) in placed.items()}
    level = points([one for one in evaluations if one.name not in placed])
    drawn = points([one for one in evaluations if one.name in placed], placed)
    return drawn, [Reference(one.line, one.values) for one in level]


def _manifests(place: Path) -> "list[Manifest]":
    from potstill.distilled import Manifest

    files = (
        [place]
        if (place / "potstill.json").is_file()
        else sorted(file.parent for file in place.glob("**/potstill.json"))
    )
    finished = [manifest for manifest in map(Manifest.load, files) if manifest.finished]
    if not finished:
        raise PotstillError(f"{place} holds no finished set")
    return finished


def _write(drawn: "Figure", out: Path) -> None:
    from potstill.report.figures import save

    for file in save(drawn, out):
        out_console.tell(str(file))
