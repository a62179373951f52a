"""Baselines on digits that choose or cut up real images: what every distilled set is compared with."""

import dataclasses

from potstill.methods import Method
from potstill.methods.coreset import Herding, KCenter
from potstill.methods.patches import Rded
from potstill.recipes import digits
from potstill.recipes.recipe import Recipe


def digits_k_center() -> Recipe:
    """K-center in the features of the teacher."""
    method = KCenter(features="digits/teacher")
    return _digits("digits-k-center", "real digits that leave no other far off", method)


def digits_herding() -> Recipe:
    """Herding in the features of the teacher."""
    method = Herding(features="digits/teacher")
    return _digits("digits-herding", "real digits whose mean is their class's", method)


def digits_herding_clip() -> Recipe:
    """Herding in the embeddings of the CLIP."""
    method = Herding(features="digits/clip")
    return _digits(
        "digits-herding-clip", "real digits whose mean is their class's, as CLIP sees them", method
    )


def digits_rded() -> Recipe:
    """RDED with the teacher as judge; at 32 px an image is one patch."""
    method = Rded(teacher="digits/teacher")
    return _digits("digits-rded", "RDED: the crops of real digits that the teacher is surest of", method)


def _digits(name: str, summary: str, method: Method) -> Recipe:
    return dataclasses.replace(digits.random(), name=name, summary=summary, method=method)
