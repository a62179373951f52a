"""`sweep`: a recipe, or a paper's table, over fields."""

import json
from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.executors import Address, Device, On, Workers, executor
from potstill.cli.terminal import Json, TrustPickle, emit, progress
from potstill.core.errors import PotstillError, unknown


def sweep(
    what: Annotated[str, typer.Argument(help="A recipe, or a study: a paper's table or figure.")],
    over: Annotated[
        list[str] | None,
        typer.Option(
            help="A field and its values: images_per_class=1,10 or method.terms.0.pace.weight=0.1,0.3"
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Sets a point, with seeds 0, 1, ...")] = 3,
    out: Annotated[Path, typer.Option(help="The sweep's folder; a killed sweep goes on in it.")] = Path(
        "runs/sweep"
    ),
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a field in every point that has it: teacher=FOLDER"),
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="In place of the recipe's.")] = None,
    student: Annotated[str | None, typer.Option(help="In place of the recipe's.")] = None,
    students: Annotated[
        int | None, typer.Option(min=0, help="Students a set, with seeds 0, 1, ...; 0 makes sets alone.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Fewer epochs than the protocol's; the result says so.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images made and kept at a time.")] = 64,
    trust_pickle: TrustPickle = False,
    device: Device = "cpu",
    on: On = "local",
    workers: Workers = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Distills and evaluates a recipe at every point of a product of its fields, and prints the table."""
    from potstill.recipes import RECIPES, STUDIES
    from potstill.report import table
    from potstill.sweeps import sweep as run

    if what not in RECIPES and what not in STUDIES:
        raise unknown("recipe or study", what, [*RECIPES, *STUDIES])
    asked = {"protocol": protocol, "student": student, "students": students}
    changes = dict(_change(text) for text in settings or [])
    changes |= {"method.canvas.trust_pickle": "true"} if trust_pickle else {}
    axes = _axes(over or [])
    axes |= {field: (str(value),) for field, value in asked.items() if value is not None}
    with progress() as on_step:
        made = run(
            (RECIPES if what in RECIPES else STUDIES)[what](),
            axes,
            out,
            seeds=seeds,
            changes=changes,
            epochs=epochs,
            device=device,
            batch=batch,
            on=executor(on, workers, address, device),
            on_step=on_step,
        )
    evaluations = made.evaluations(out)
    told = f"\n{len(made.points)} points are listed in {out / 'sweep.json'}"
    emit(made, as_json, lambda: (table(evaluations, evaluations[0].name) if evaluations else "") + told)


def _axes(over: list[str]) -> dict[str, tuple[str, ...]]:
    axes: dict[str, tuple[str, ...]] = {}
    for path, values in map(_axis, over):
        if path in axes:
            raise PotstillError(f"--over {path} is given twice: name all its values in one")
        axes[path] = values
    return axes


def _axis(text: str) -> tuple[str, tuple[str, ...]]:
    path, values = _change(text, "--over")
    if values.startswith("["):
        try:
            listed = json.loads(values)
        except json.JSONDecodeError as error:
            raise PotstillError(f"--over {text!r} is not a list of values: {error}") from None
        return path, tuple(value if isinstance(value, str) else json.dumps(value) for value in listed)
    return path, tuple(value.strip() for value in values.split(",") if value.strip())


def _change(text: str, option: str = "--set") -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not equals:
        raise PotstillError(f"{option} takes FIELD=VALUE, not {text!r}")
    return path.strip(), value
