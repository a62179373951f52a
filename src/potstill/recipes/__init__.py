"""Whole named settings as functions; a variant calls another recipe and replaces fields."""

from typing import TYPE_CHECKING, Any

from potstill.core.table import Table

if TYPE_CHECKING:
    from potstill.recipes.recipe import Recipe as Recipe

RECIPES = Table(
    "recipe",
    {
        "digits-random": "potstill.recipes.digits:random",
        "digits-k-center": "potstill.recipes.baselines:digits_k_center",
        "digits-herding": "potstill.recipes.baselines:digits_herding",
        "digits-herding-clip": "potstill.recipes.baselines:digits_herding_clip",
        "digits-rded": "potstill.recipes.baselines:digits_rded",
        "digits-sre2l": "potstill.recipes.sre2l:digits_sre2l",
        "digits-dit": "potstill.recipes.digits:dit",
        "digits-dit-concord": "potstill.recipes.digits:dit_concord",
        "digits-dit-unguided": "potstill.recipes.digits:dit_unguided",
        "digits-dit-unguided-concord": "potstill.recipes.digits:dit_unguided_concord",
        "digits-dit-complete": "potstill.recipes.digits:dit_complete",
        "digits-unclip": "potstill.recipes.digits:unclip",
        "digits-unclip-concord": "potstill.recipes.digits:unclip_concord",
        "digits-dit-classifier": "potstill.recipes.digits_classifier:dit_classifier",
        "digits-dit-concord-classifier": "potstill.recipes.digits_classifier:dit_concord_classifier",
        "digits-unclip-classifier": "potstill.recipes.digits_classifier:unclip_classifier",
        "digits-d4m": "potstill.recipes.d4m:digits_dit",
        "digits-d4m-unclip": "potstill.recipes.d4m:digits_unclip",
        "digits-dc": "potstill.recipes.matching:digits_dc",
        "digits-dsa": "potstill.recipes.matching:digits_dsa",
        "digits-dm": "potstill.recipes.matching:digits_dm",
        "digits-idm": "potstill.recipes.matching:digits_idm",
        "digits-mtt": "potstill.recipes.matching:digits_mtt",
        "digits-dm-latents": "potstill.recipes.matching:digits_dm_latents",
        "digits-dm-ld3m": "potstill.recipes.matching:digits_dm_ld3m",
        "digits-dc-ld3m": "potstill.recipes.matching:digits_dc_ld3m",
        "cifar10-dc": "potstill.recipes.matching:cifar10_dc",
        "cifar10-dsa": "potstill.recipes.matching:cifar10_dsa",
        "cifar10-dm": "potstill.recipes.matching:cifar10_dm",
        "imagenet-random": "potstill.recipes.concord:random",
        "imagenet-k-center": "potstill.recipes.concord:k_center",
        "imagenet-herding": "potstill.recipes.concord:herding",
        "imagenet-dit": "potstill.recipes.concord:dit",
        "imagenet-dit-concord": "potstill.recipes.concord:dit_concord",
        "imagenet-dit-classifier": "potstill.recipes.concord:dit_classifier",
        "imagenet-dit-concord-classifier": "potstill.recipes.concord:dit_concord_classifier",
        "imagenet-minimax": "potstill.recipes.concord:minimax",
        "imagenet-minimax-concord": "potstill.recipes.concord:minimax_concord",
        "imagenet-unclip": "potstill.recipes.concord:unclip",
        "imagenet-unclip-concord": "potstill.recipes.concord:unclip_concord",
        "imagenet-unclip-classifier": "potstill.recipes.concord:unclip_classifier",
        "imagenet-100-minimax": "potstill.recipes.concord:minimax_100",
        "imagenet-100-minimax-concord": "potstill.recipes.concord:minimax_100_concord",
        "imagenet-1k-minimax": "potstill.recipes.concord:minimax_1k",
        "imagenet-1k-minimax-concord": "potstill.recipes.concord:minimax_1k_concord",
        "food101-random": "potstill.recipes.concord:food_random",
        "food101-unclip": "potstill.recipes.concord:food_unclip",
        "food101-unclip-concord": "potstill.recipes.concord:food_unclip_concord",
        "cifar100-sre2l": "potstill.recipes.sre2l:cifar100",
        "tiny-imagenet-sre2l": "potstill.recipes.sre2l:tiny_imagenet",
        "imagenet-1k-sre2l": "potstill.recipes.sre2l:imagenet_1k",
    },
)

STUDIES = Table(
    "study",
    {
        "concord-table-1": "potstill.recipes.studies:full_main",
        "concord-imagenet": "potstill.recipes.studies:full_imagenet",
        "concord-food-101": "potstill.recipes.studies:full_food",
        "concord-table-4-prompts": "potstill.recipes.studies:full_prompts",
        "concord-table-5-negatives-policy": "potstill.recipes.studies:full_policy",
        "concord-table-6-objective": "potstill.recipes.studies:full_objective",
        "concord-table-7-combination": "potstill.recipes.studies:full_combination",
        "concord-table-8-time": "potstill.recipes.studies:full_time",
        "concord-table-9-selection": "potstill.recipes.studies:full_coresets",
        "concord-figure-4a-images": "potstill.recipes.studies:full_images",
        "concord-figure-4b-weight": "potstill.recipes.studies:full_weight",
        "concord-figure-4c-negatives": "potstill.recipes.studies:full_negatives",
        "concord-figure-5-steps": "potstill.recipes.studies:full_steps",
        "concord-figure-6-features": "potstill.recipes.studies:full_features",
        "digits-table-1": "potstill.recipes.studies:digits_main",
        "digits-table-4-prompts": "potstill.recipes.studies:digits_prompts",
        "digits-table-5-negatives-policy": "potstill.recipes.studies:digits_policy",
        "digits-table-6-objective": "potstill.recipes.studies:digits_objective",
        "digits-table-7-combination": "potstill.recipes.studies:digits_combination",
        "digits-table-8-time": "potstill.recipes.studies:digits_time",
        "digits-table-9-selection": "potstill.recipes.studies:digits_coresets",
        "digits-figure-4a-images": "potstill.recipes.studies:digits_images",
        "digits-figure-4b-weight": "potstill.recipes.studies:digits_weight",
        "digits-figure-4c-negatives": "potstill.recipes.studies:digits_negatives",
        "digits-figure-5-steps": "potstill.recipes.studies:digits_steps",
        "digits-figure-6-features": "potstill.recipes.studies:digits_features",
    },
)
"""The tables and line figures of papers, each a few recipes over a few fields: what `potstill sweep` runs whole."""


def __getattr__(name: str) -> Any:
    if name != "Recipe":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from potstill.recipes.recipe import Recipe

    return Recipe
