"""Whole named settings as functions; a variant calls another recipe and replaces fields."""

from potstill.core.table import Table
from potstill.recipes.recipe import Recipe as Recipe

RECIPES = Table(
    "recipe",
    {
        "digits-random": "potstill.recipes.digits:random",
        "digits-dit": "potstill.recipes.digits:dit",
        "digits-dit-concord": "potstill.recipes.digits:dit_concord",
        "digits-dit-unguided": "potstill.recipes.digits:dit_unguided",
        "digits-dit-unguided-concord": "potstill.recipes.digits:dit_unguided_concord",
        "digits-dit-complete": "potstill.recipes.digits:dit_complete",
        "digits-unclip": "potstill.recipes.digits:unclip",
        "digits-unclip-concord": "potstill.recipes.digits:unclip_concord",
    },
)
