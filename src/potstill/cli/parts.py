"""`list` and `show`: what there is, and what it is set to."""

import importlib
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from potstill.bundled import banks, models
from potstill.bundled.licences import DATA, MODELS, data_licence, model_licence
from potstill.cli.terminal import Json, emit, out_console
from potstill.core.errors import unknown


class Kind(StrEnum):
    """What `list` can list."""

    recipes = "recipes"
    studies = "studies"
    methods = "methods"
    data = "data"
    subsets = "subsets"
    banks = "banks"
    models = "models"
    priors = "priors"
    solvers = "solvers"
    objectives = "objectives"
    matchings = "matchings"
    canvases = "canvases"
    negatives = "negatives"
    nets = "nets"
    protocols = "protocols"
    labels = "labels"


def list_parts(
    kind: Annotated[Kind, typer.Argument(help="Which table.")] = Kind.recipes, as_json: Json = False
) -> None:
    """Lists the parts of a table by name."""
    names = _tables()[kind]()
    emit(names, as_json, lambda: "\n".join(names))


def _tables() -> dict[Kind, Callable[[], list[str]]]:
    def table(place: str, name: str) -> Callable[[], list[str]]:
        def names() -> list[str]:

            return list(getattr(importlib.import_module(place), name))

        return names

    return {
        Kind.recipes: table("potstill.recipes", "RECIPES"),
        Kind.studies: table("potstill.recipes", "STUDIES"),
        Kind.methods: table("potstill.methods", "METHODS"),
        Kind.data: table("potstill.data", "DATASETS"),
        Kind.subsets: table("potstill.data.classes", "SUBSETS"),
        Kind.banks: lambda: list(banks()),
        Kind.models: lambda: list(models()),
        Kind.priors: table("potstill.priors", "PRIORS"),
        Kind.solvers: table("potstill.priors.schedule", "SOLVERS"),
        Kind.objectives: table("potstill.guidance.scores", "OBJECTIVES"),
        Kind.matchings: table("potstill.objectives", "MATCHINGS"),
        Kind.canvases: table("potstill.canvas", "CANVASES"),
        Kind.negatives: table("potstill.concepts.negatives", "NEGATIVES"),
        Kind.nets: table("potstill.nets", "NETS"),
        Kind.protocols: table("potstill.evaluation", "PROTOCOLS"),
        Kind.labels: table("potstill.labels", "LABELLERS"),
    }


def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A recipe, study, protocol, shipped model, hub model or data set, or a set's folder."
        ),
    ],
) -> None:
    """Prints the resolved settings of a recipe, study or protocol, a model's card or licence, or a set's record."""
    from potstill.distilled import Manifest
    from potstill.evaluation import PROTOCOLS
    from potstill.recipes import RECIPES, STUDIES

    if name in RECIPES:
        shown: Any = RECIPES[name]()
    elif name in STUDIES:
        shown = STUDIES[name]()
    elif name in PROTOCOLS:
        shown = PROTOCOLS[name].example()
    elif name in models():
        out_console.tell((models()[name] / "README.md").read_text())
        return
    elif Path(name).is_dir():
        shown = Manifest.load(Path(name))
    elif name in MODELS:
        shown = model_licence(name)
    elif name in DATA or name.startswith("hub:"):
        shown = data_licence(name)
    else:
        raise unknown(
            "name", name, [*RECIPES, *STUDIES, *PROTOCOLS, *models(), *MODELS, *DATA, "a set's folder"]
        )
    emit(shown, True, str)
