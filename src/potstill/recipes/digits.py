"""The digits world: real handwritten digits and the small models that ship with the package."""

import dataclasses

from potstill.concepts import Vocabulary
from potstill.guidance.push import Pace
from potstill.methods.guided import Guided
from potstill.methods.random import Random
from potstill.methods.terms import ConceptTerm
from potstill.recipes.recipe import Recipe
from potstill.run.witness import Seen

VOCABULARY = Vocabulary(bank="digits", encoder="digits/clip")
WITNESS = Seen(vocabulary=VOCABULARY, teacher="digits/teacher")
INFORMING = ConceptTerm(vocabulary=VOCABULARY, pace=Pace(weight=0.03, normalise=True))
"""Pushed at every step; the weight is chosen on validation images (benchmarks/accuracy/tune_digits.md)."""

COMPLETING = dataclasses.replace(INFORMING, pace=Pace(weight=0.1, normalise=True, until=0.2, check=2))
"""Pushed harder, and only until an image scores what four fifths of real images of its class score."""


def random() -> Recipe:
    """Random real digits."""
    return _digits("digits-random", "random real digits: the line to reach", Random())


def dit() -> Recipe:
    """DiT with classifier-free guidance 1.5."""
    method = Guided(prior="digits/dit", scale=1.5)
    return _digits("digits-dit", "DiT with classifier-free guidance, not informed", method)


def dit_concord() -> Recipe:
    """DiT with classifier-free guidance, informed at every step."""
    method = Guided(prior="digits/dit", scale=1.5, terms=(INFORMING,))
    return _digits("digits-dit-concord", "CONCORD: DiT with guidance, informed by concepts", method)


def dit_unguided() -> Recipe:
    """DiT without classifier-free guidance: one denoiser pass a step."""
    return _digits(
        "digits-dit-unguided", "DiT without guidance, not informed", Guided(prior="digits/dit", scale=1)
    )


def dit_unguided_concord() -> Recipe:
    """DiT informed in place of classifier-free guidance."""
    method = Guided(prior="digits/dit", scale=1, terms=(INFORMING,))
    return _digits("digits-dit-unguided-concord", "DiT informed in place of guidance", method)


def dit_complete() -> Recipe:
    """DiT without classifier-free guidance, each image informed until it reaches what most real images reach."""
    return _digits(
        "digits-dit-complete",
        "DiT informed in place of guidance, each image until it is complete",
        Guided(prior="digits/dit", scale=1, terms=(COMPLETING,)),
    )


def unclip() -> Recipe:
    """The unCLIP prior: one random real image and a prompt an image."""
    method = Guided(prior="digits/unclip", scale=2.0)
    return _digits("digits-unclip", "unCLIP with classifier-free guidance, not informed", method)


def unclip_concord() -> Recipe:
    """The unCLIP prior, informed at every step."""
    method = Guided(prior="digits/unclip", scale=2.0, terms=(INFORMING,))
    return _digits("digits-unclip-concord", "CONCORD: unCLIP with guidance, informed by concepts", method)


def _digits(name: str, summary: str, method: Random | Guided) -> Recipe:
    return Recipe(name=name, summary=summary, method=method, witness=WITNESS, teacher="digits/teacher")
