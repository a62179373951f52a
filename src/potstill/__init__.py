"""potstill distills a large labelled image set into a few images per class that train a network nearly as well.

The verbs of the command line as functions, and the nouns that flow between them. They are imported when they are
first used, so that `import potstill` is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from potstill.concepts import ConceptBank as ConceptBank
    from potstill.data import load as load
    from potstill.data.real import RealData as RealData
    from potstill.distilled import DistilledSet as DistilledSet
    from potstill.evaluation.record import Evaluation as Evaluation
    from potstill.guidance.scheduler import inform as inform
    from potstill.pipeline import distill_recipe as distill
    from potstill.pipeline import evaluate_set as evaluate
    from potstill.pipeline import run as run_recipe
    from potstill.priors import Prior as Prior
    from potstill.recipes import RECIPES as RECIPES
    from potstill.recipes import Recipe as Recipe
    from potstill.report import page as page
    from potstill.report import table as compare
    from potstill.sweeps import sweep as sweep

_PUBLIC = {
    "load": "potstill.data:load",
    "RealData": "potstill.data.real:RealData",
    "ConceptBank": "potstill.concepts:ConceptBank",
    "Prior": "potstill.priors:Prior",
    "inform": "potstill.guidance.scheduler:inform",
    "Recipe": "potstill.recipes:Recipe",
    "RECIPES": "potstill.recipes:RECIPES",
    "distill": "potstill.pipeline:distill_recipe",
    "DistilledSet": "potstill.distilled:DistilledSet",
    "evaluate": "potstill.pipeline:evaluate_set",
    "Evaluation": "potstill.evaluation.record:Evaluation",
    "compare": "potstill.report:table",
    "page": "potstill.report:page",
    "run_recipe": "potstill.pipeline:run",
    "sweep": "potstill.sweeps:sweep",
}

__all__ = [
    "RECIPES",
    "ConceptBank",
    "DistilledSet",
    "Evaluation",
    "Prior",
    "RealData",
    "Recipe",
    "compare",
    "distill",
    "evaluate",
    "inform",
    "load",
    "page",
    "run_recipe",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'potstill' has no attribute {name!r}")
    module, attribute = _PUBLIC[name].split(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
