"""What a student is told about an image: its class, or a teacher's opinion of the very view that it sees."""

from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from potstill.core.seeds import generator
from potstill.core.table import Table
from potstill.nets.fit import View

LABELLERS = Table(
    "labeller",
    {
        "hard": "potstill.labels.hard:HardLabels",
        "teacher": "potstill.labels.teacher:TeacherLabels",
        "stored": "potstill.labels.stored:StoredLabels",
    },
)
"""Labellers: classes made as `(source, temperature)`, the source being what they need."""

Needs = Literal["nothing", "teacher", "file"]
"""What a labeller is made from: nothing, a teacher's module, or labels read from a set's file."""


class Labeller(Protocol):
    """A loss for students, and what their views are drawn from."""

    needs: ClassVar[Needs]

    def draws(self, seed: int) -> torch.Generator:
        """The generator of the views of the student with a seed."""
        ...

    def loss(self, student_logits: Tensor, view: View) -> Tensor:
        """Logits [n, classes] and the view that they belong to, to a scalar: a mean over the view's images."""
        ...


def own_draws(seed: int) -> torch.Generator:
    """The generator of a student that sees views of its own."""
    return generator(seed, "student", "fit")
