"""`distill`: a recipe or a method to a set on disk."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from potstill.cli.executors import Address, Device, On, Workers, executor
from potstill.cli.terminal import Data, Json, Only, SkipBad, Test, TrustPickle, emit, progress
from potstill.core.errors import PotstillError
from potstill.core.settings import from_plain, read_value, replace_at

Method = Annotated[
    str | None,
    typer.Option(help="In place of a recipe: a method with its usual settings, and --set for the others."),
]


def distill(
    recipe: Annotated[str | None, typer.Argument(help="A recipe's name (`potstill list recipes`).")] = None,
    out: Annotated[Path, typer.Option(help="The set's folder; a killed run goes on in it.")] = Path(
        "runs/set"
    ),
    method: Method = None,
    data: Data = None,
    test: Test = None,
    classes: Only = None,
    ipc: Annotated[int | None, typer.Option(help="Images per class.")] = None,
    seed: Annotated[int | None, typer.Option(help="The set's seed.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a field: method.scale=2, method.terms.0.pace.weight=0.2"),
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(help="Short for --set method.prior=...; alone it is drawn from by --method guided."),
    ] = None,
    trust_pickle: TrustPickle = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Count parameters, operations and time of a sampled method and stop."),
    ] = False,
    tflops: Annotated[
        float, typer.Option(min=0.001, help="10^12 operations a second that the dry run's time assumes.")
    ] = 100.0,
    batch: Annotated[int, typer.Option(min=1, help="Images made and kept at a time.")] = 64,
    skip_bad: SkipBad = False,
    device: Device = "cpu",
    on: On = "local",
    workers: Workers = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Makes a distilled set: an ordinary image folder with its provenance."""
    from potstill.data import load
    from potstill.pipeline import distill_recipe

    changes = {"data": data, "classes": classes, "images_per_class": ipc, "seed": seed}
    short = {"method.prior": prior, "method.canvas.trust_pickle": "true" if trust_pickle else None}
    asked = [*(settings or []), *(f"{field}={value}" for field, value in short.items() if value)]
    chosen = resolved(recipe, method if recipe or method or not prior else "guided", changes, asked)
    if dry_run:
        _count(chosen, tflops, as_json)
        return
    where = executor(on, workers, address, device)
    with progress() as on_step:
        real = load(chosen.data, classes=chosen.classes, test=test, skip_bad=skip_bad, on_step=on_step)
        made = distill_recipe(chosen, out, real=real, device=device, batch=batch, on=where, on_step=on_step)
    manifest = made.manifest
    emit(
        {"folder": str(out), "images": len(made.records), "seconds_per_image": manifest.seconds_per_image},
        as_json,
        lambda: f"{out}: {len(made.records)} images, {manifest.seconds_per_image:.3f} s each",
    )


def resolved(recipe: str | None, method: str | None, changes: dict[str, Any], settings: list[str]) -> Any:
    """The recipe that is asked for: by its name or a method's, with changed fields and settings "FIELD=VALUE"."""
    chosen = _chosen(recipe, method, settings)
    changed = dataclasses.replace(
        chosen, **{name: value for name, value in changes.items() if value is not None}
    )
    for path, value in map(_parted, settings):
        changed = replace_at(changed, path, value)
    if changed.images_per_class < 1:
        raise PotstillError(f"--ipc must be at least 1, not {changed.images_per_class}")
    return changed


def _parted(setting: str) -> tuple[str, str]:
    path, equals, value = setting.partition("=")
    if not equals:
        raise PotstillError(f"--set takes FIELD=VALUE, not {setting!r}")
    return path, value


def _count(recipe: Any, tflops: float, as_json: bool) -> None:
    from potstill.costs import cost
    from potstill.data.classes import SUBSETS, subset
    from potstill.methods.guided import Guided

    if not isinstance(recipe.method, Guided):
        raise PotstillError(f"--dry-run counts sampled methods; {recipe.name} is {recipe.method.kind!r}")
    found = cost(recipe.method)
    seconds = found.operations / (tflops * 1e12)
    classes = len(subset(recipe.classes)) if recipe.classes in SUBSETS else None
    images = None if classes is None else classes * recipe.images_per_class
    told = {
        **dataclasses.asdict(found),
        "seconds_per_image": seconds,
        "images": images,
        "hours": None if images is None else images * seconds / 3600,
    }

    def text() -> str:
        side, channels = found.size, " x ".join(map(str, found.latent))
        lines = [
            f"{recipe.name}: images of {side} x {side} px, latents of {channels}, {recipe.method.steps} steps"
        ]
        lines += [f"{name:>18} {count:>15,} parameters" for name, count in found.parameters.items()]
        lines += [
            f"{'weights':>18} {found.bytes / 2**30:>15.2f} GiB in {recipe.method.dtype}",
            f"{'a gradient keeps':>18} {found.kept / 2**20:>15,.1f} MiB an image",
            f"{'an image':>18} {found.operations / 1e12:>15.2f} TFLOP at most",
            f"{'of it to inform':>18} {found.informing / 1e12:>15.2f} TFLOP",
            f"{'':>18} {seconds:>15.3f} s at {tflops:g} TFLOP/s sustained",
        ]
        if images is not None:
            lines.append(f"{'all':>18} {images:>15,} images, {images * seconds / 3600:.2f} h on one device")
        return "\n".join(lines)

    emit(told, as_json, text)


def _chosen(recipe: str | None, method: str | None, settings: list[str]) -> Any:
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
    given = dict(map(_parted, settings))
    missing = [name for name in needed if f"method.{name}" not in given]
    if missing:
        asked = " ".join(f"--set method.{name}=..." for name in missing)
        raise PotstillError(f"method {method!r} needs {asked}, or start from a recipe that has it")
    told = {name: read_value(given[f"method.{name}"]) for name in needed}
    return Recipe(
        name=str(method),
        summary=f"{method} with its usual settings",
        method=from_plain(kind, told, f"--method {method}"),
        data="digits",
    )
