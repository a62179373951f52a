"""`distill`: a recipe or a method to a set on disk."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from potstill.cli.terminal import Data, Device, Json, Only, SkipBad, Test, emit, progress
from potstill.core.errors import PotstillError
from potstill.core.settings import replace_at


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
    emit(
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
