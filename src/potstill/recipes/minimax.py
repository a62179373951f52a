"""The digits' DiT fine-tuned by Minimax (arXiv:2311.15529), in the folder runs/minimax-digits: yours to make.

`potstill finetune minimax runs/minimax-digits --epochs 6 --average 0.9996` makes it.
"""

import dataclasses

from potstill.methods.guided import Guided
from potstill.recipes import digits
from potstill.recipes.recipe import Recipe

TUNED = "./runs/minimax-digits"


def digits_minimax() -> Recipe:
    """The fine-tuned DiT with classifier-free guidance."""
    summary = "Minimax: DiT fine-tuned, with guidance, not informed"
    return _tuned(digits.dit(), "digits-minimax", summary)


def digits_minimax_concord() -> Recipe:
    """The fine-tuned DiT with classifier-free guidance, informed at every step."""
    summary = "CONCORD on Minimax: DiT fine-tuned, with guidance, informed by concepts"
    return _tuned(digits.dit_concord(), "digits-minimax-concord", summary)


def _tuned(recipe: Recipe, name: str, summary: str) -> Recipe:
    assert isinstance(recipe.method, Guided)
    method = dataclasses.replace(recipe.method, prior=TUNED)
    return dataclasses.replace(recipe, name=name, summary=summary, method=method)
