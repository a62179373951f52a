"""Classifier guidance on digits, alone and beside concepts: what CONCORD's tables 6 and 7 compare it with.

The classifier is the teacher that labels the sets too, so these arms know the judge; read them as an upper line.
"""

import dataclasses

from potstill.guidance.push import Pace
from potstill.methods.guided import Guided
from potstill.methods.terms import ClassifierTerm
from potstill.recipes.digits import dit, dit_concord, unclip
from potstill.recipes.recipe import Recipe

CLASSIFYING = ClassifierTerm(classifier="digits/teacher", pace=Pace(weight=0.03, normalise=True))


def dit_classifier() -> Recipe:
    """DiT with classifier-free guidance and classifier guidance."""
    return _with_classifier(dit(), "digits-dit-classifier", "DiT with classifier guidance")


def dit_concord_classifier() -> Recipe:
    """DiT with classifier-free guidance, concepts and classifier guidance."""
    summary = "DiT informed by concepts and a classifier"
    return _with_classifier(dit_concord(), "digits-dit-concord-classifier", summary)


def unclip_classifier() -> Recipe:
    """The unCLIP prior with classifier guidance."""
    return _with_classifier(unclip(), "digits-unclip-classifier", "unCLIP with classifier guidance")


def _with_classifier(recipe: Recipe, name: str, summary: str) -> Recipe:
    assert isinstance(recipe.method, Guided)
    method = dataclasses.replace(recipe.method, terms=(*recipe.method.terms, CLASSIFYING))
    return dataclasses.replace(recipe, name=name, summary=summary, method=method)
