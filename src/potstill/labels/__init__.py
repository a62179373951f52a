"""What a student is told about an image: its class, or a teacher's opinion of the very view that it sees."""

from typing import ClassVar, Protocol

from torch import Tensor

from potstill.core.table import Table

LABELLERS = Table(
    "labeller",
    {"hard": "potstill.labels.hard:HardLabels", "teacher": "potstill.labels.teacher:TeacherLabels"},
)
"""Labellers: classes made as `(teacher: nn.Module | None, temperature: float | None)` into a `Labeller`."""


class Labeller(Protocol):
    """A loss for students; `needs_teacher` says whether it can be made without one."""

    needs_teacher: ClassVar[bool]

    def loss(self, student_logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Logits [n, classes], the images [n, 3, s, s] in [0, 1] they belong to and class shares to a scalar.

        `labels` are float [n, classes] with rows that sum to 1, each a class or, after CutMix, two in
        proportion to their areas. The scalar is a mean over images.
        """
        ...
