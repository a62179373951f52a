"""The command line: verbs are stages."""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from potstill.core.errors import PotstillError, unknown
from potstill.core.progress import OnStep, Step
from potstill.core.settings import replace_at, to_plain

app = typer.Typer(
    help="Distill a large labelled image set into a few images per class that train a network nearly as well.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
concepts_app = typer.Typer(
    help="Class names to described, checked and ranked concepts.", no_args_is_help=True
)
app.add_typer(concepts_app, name="concepts")
out_console, err_console = Console(), Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Data = Annotated[
    str | None, typer.Option(help="digits, an image folder, a parquet file or folder, or hub:ID.")
]
Test = Annotated[str | None, typer.Option(help="A folder of test images, where the data has none.")]
Only = Annotated[str | None, typer.Option("--classes", help="A named subset or comma-separated class keys.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Go on without images that can't be read.")]


class Kind(StrEnum):
    """What `list` can list."""

    recipes = "recipes"
    methods = "methods"
    data = "data"
    subsets = "subsets"
    banks = "banks"
    models = "models"
    priors = "priors"
    solvers = "solvers"
    objectives = "objectives"
    negatives = "negatives"
    nets = "nets"
    protocols = "protocols"
    labels = "labels"


def main() -> None:
    """Runs the command line: 0 done, 1 a check found faults, 2 wrong use or input, 130 interrupted."""
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        app()
    except PotstillError as error:
        err_console.print(f"[red]error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)


@contextmanager
def progress() -> Iterator[OnStep]:
    """A bar for each stage, with rate and time left; nothing where standard error is no terminal."""
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[told]}"),
    )
    with Progress(*columns, console=err_console, transient=True, disable=not err_console.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def on_step(step: Step) -> None:
            if step.stage not in tasks:
                tasks[step.stage] = bars.add_task(step.stage, total=step.total, told="")
            rate = bars.tasks[tasks[step.stage]].speed
            told = [f"{rate:.1f}/s"] if rate else []
            told += [f"{name} {value:.3g}" for name, value in step.scalars.items()]
            bars.update(tasks[step.stage], completed=step.index, total=step.total, told="  ".join(told))

        try:
            yield on_step
        except KeyboardInterrupt:
            bars.stop()
            err_console.print("interrupted: the same command goes on from here")
            raise typer.Exit(130) from None


def _emit(value: Any, as_json: bool, text: Callable[[], str]) -> None:
    if as_json:
        sys.stdout.write(json.dumps(to_plain(value), indent=2, ensure_ascii=False) + "\n")
    else:
        out_console.print(text(), markup=False, highlight=False, soft_wrap=True)


@app.command("list")
def list_parts(
    kind: Annotated[Kind, typer.Argument(help="Which table.")] = Kind.recipes, as_json: Json = False
) -> None:
    """Lists the parts of a table by name."""
    names = _tables()[kind]()
    _emit(names, as_json, lambda: "\n".join(names))


def _tables() -> dict[Kind, Callable[[], list[str]]]:
    def table(place: str, name: str) -> Callable[[], list[str]]:
        def names() -> list[str]:
            import importlib

            return list(getattr(importlib.import_module(place), name))

        return names

    from potstill.bundled import banks, models

    return {
        Kind.recipes: table("potstill.recipes", "RECIPES"),
        Kind.methods: table("potstill.methods", "METHODS"),
        Kind.data: table("potstill.data", "DATASETS"),
        Kind.subsets: table("potstill.data.classes", "SUBSETS"),
        Kind.banks: lambda: list(banks()),
        Kind.models: lambda: list(models()),
        Kind.priors: table("potstill.priors", "PRIORS"),
        Kind.solvers: table("potstill.priors.prior", "SOLVERS"),
        Kind.objectives: table("potstill.guidance.scores", "OBJECTIVES"),
        Kind.negatives: table("potstill.concepts.negatives", "NEGATIVES"),
        Kind.nets: table("potstill.nets", "NETS"),
        Kind.protocols: table("potstill.evaluation", "PROTOCOLS"),
        Kind.labels: table("potstill.labels", "LABELLERS"),
    }


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A recipe, a protocol, a shipped model or a set's folder.")],
) -> None:
    """Prints the resolved settings of a recipe or protocol, a model's card, or what a set's folder holds."""
    from potstill.bundled import models
    from potstill.distilled import Manifest
    from potstill.evaluation import PROTOCOLS
    from potstill.recipes import RECIPES

    if name in RECIPES:
        shown: Any = RECIPES[name]()
    elif name in PROTOCOLS:
        shown = PROTOCOLS[name]
    elif name in models():
        out_console.print((models()[name] / "README.md").read_text(), markup=False, highlight=False)
        return
    elif Path(name).is_dir():
        shown = Manifest.load(Path(name))
    else:
        raise unknown("name", name, [*RECIPES, *PROTOCOLS, *models(), "a set's folder"])
    _emit(shown, True, str)


@concepts_app.command("check")
def concepts_check(
    bank: Annotated[str, typer.Option(help="A shipped bank or a .jsonl file.")],
    encoder: Annotated[str, typer.Option(help="A CLIP: shipped name, folder or hub id.")],
    data: Annotated[str, typer.Option(help="digits, an image folder, a parquet file or folder, or hub:ID.")],
    classes: Only = None,
    keep: Annotated[int, typer.Option(help="Phrases to keep a class.")] = 5,
    skip_bad: SkipBad = False,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Ranks every class's phrases by their validity on real images (CONCORD, Eq. 10)."""
    from potstill.concepts.check import check
    from potstill.data import load
    from potstill.encoders import Encoder

    with progress() as on_step:
        real = load(data, classes=classes, skip_bad=skip_bad, on_step=on_step)
        loaded = Encoder.from_pretrained(encoder, device=device)
        checked = check(bank, loaded, real, on_step=on_step)

    def text() -> str:
        lines = []
        for row in checked:
            lines.append(f"{row.key}: {row.name}")
            lines += [
                f"  {'keep' if place < keep else '    '} {validity:6.3f}  {phrase}"
                for place, (phrase, validity) in enumerate(zip(row.phrases, row.validity, strict=True))
            ]
        return "\n".join(lines)

    _emit(checked, as_json, text)


@app.command()
def distill(
    recipe: Annotated[str | None, typer.Argument(help="A recipe's name (`potstill list recipes`).")] = None,
    out: Annotated[Path, typer.Option(help="The set's folder; a killed run goes on in it.")] = Path(
        "runs/set"
    ),
    method: Annotated[
        str | None, typer.Option(help="In place of a recipe: a method with its usual settings.")
    ] = None,
    data: Data = None,
    test: Test = None,
    classes: Only = None,
    ipc: Annotated[int | None, typer.Option(help="Images per class.")] = None,
    seed: Annotated[int | None, typer.Option(help="The set's seed.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a field: method.scale=2, method.terms.0.pace.weight=0.2"),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images made and kept at a time.")] = 64,
    skip_bad: SkipBad = False,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Makes a distilled set: an ordinary image folder with its provenance."""
    from potstill.data import load
    from potstill.pipeline import distill_recipe

    chosen = _chosen(recipe, method, data)
    changes = {"data": data, "classes": classes, "images_per_class": ipc, "seed": seed}
    chosen = dataclasses.replace(
        chosen, **{name: value for name, value in changes.items() if value is not None}
    )
    for setting in settings or []:
        path, equals, value = setting.partition("=")
        if not equals:
            raise PotstillError(f"--set takes FIELD=VALUE, not {setting!r}")
        chosen = replace_at(chosen, path, value)
    if chosen.images_per_class < 1:
        raise PotstillError(f"--ipc must be at least 1, not {chosen.images_per_class}")
    with progress() as on_step:
        real = load(chosen.data, classes=chosen.classes, test=test, skip_bad=skip_bad, on_step=on_step)
        made = distill_recipe(chosen, out, real=real, device=device, batch=batch, on_step=on_step)
    manifest = made.manifest
    _emit(
        {"folder": str(out), "images": len(made.records), "seconds_per_image": manifest.seconds_per_image},
        as_json,
        lambda: f"{out}: {len(made.records)} images, {manifest.seconds_per_image:.3f} s each",
    )


def _chosen(recipe: str | None, method: str | None, data: str | None) -> Any:
    from potstill.methods import METHODS
    from potstill.recipes import RECIPES, Recipe

    if (recipe is None) == (method is None):
        raise PotstillError(f"name a recipe or --method, not both. Recipes: {', '.join(RECIPES)}")
    if recipe is not None:
        return RECIPES[recipe]()
    kind = METHODS[str(method)]
    needed = [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if needed:
        raise PotstillError(f"method {method!r} needs {', '.join(needed)}: start from a recipe that has them")
    return Recipe(
        name=str(method), summary=f"{method} with its usual settings", method=kind(), data=data or "digits"
    )


@app.command()
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
    _emit(done, as_json, lambda: table(done))


@app.command()
def compare(
    evaluations: Annotated[
        list[Path], typer.Argument(help="Evaluation files, or sets and folders that hold some.")
    ],
    baseline: Annotated[
        str | None, typer.Option(help="The name to compare with; the first by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Prints saved evaluations side by side, with paired differences and their intervals."""
    from potstill.evaluation.record import Evaluation
    from potstill.report import table

    files = [file for place in evaluations for file in _evaluation_files(place)]
    loaded = [Evaluation.load(file) for file in files]
    names = sorted({evaluation.name for evaluation in loaded})
    if baseline is not None and baseline not in names:
        raise unknown("baseline", baseline, names)
    _emit(loaded, as_json, lambda: table(loaded, baseline=baseline or loaded[0].name))


def _evaluation_files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    found = sorted(file for file in place.glob("**/evaluations/*.json"))
    if not found:
        raise PotstillError(f"{place} holds no evaluations: run `potstill evaluate` first")
    return found


@app.command()
def report(
    sets: Annotated[list[Path], typer.Argument(help="Distilled sets, each an arm of the page.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    title: Annotated[str, typer.Option(help="The page's title.")] = "potstill report",
) -> None:
    """Writes the self-contained page: images, concept scores, accuracy, settings, timings."""
    from potstill.distilled import DistilledSet
    from potstill.report import page

    for folder in sets:
        DistilledSet.load(folder)
    files = [file for folder in sets for file in sorted((folder / "evaluations").glob("*.json"))]
    out_console.print(str(page(sets, files, out, title=title)), highlight=False)


@app.command()
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
    out_console.print(result.table, markup=False, highlight=False, soft_wrap=True)
    out_console.print(f"\nThe page: {result.page.resolve()}", highlight=False, soft_wrap=True)
