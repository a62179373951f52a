"""A whole named setting: what is learned from, how it is distilled, and how the result is judged."""

from dataclasses import dataclass

from potstill.methods import Method
from potstill.run.witness import Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides a result, from real data to evaluation.

    `data` and `classes` are what `potstill.data.load` takes; `student` is a net by short name; `students` is how
    many are trained on the set, with seeds 0, 1, ...; `size` is the side in px at which they see images, None that of
    the set.
    """

    name: str
    summary: str
    method: Method
    data: str = "digits"
    classes: str | None = None
    images_per_class: int = 10
    seed: int = 0
    witness: Seen | None = None
    protocol: str = "rded@1"
    student: str = "convnet-3"
    teacher: str | None = None
    students: int = 3
    size: int | None = None
