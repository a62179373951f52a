"""Soft labels asked of a teacher for each batch, on exactly the images that the student sees."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from potstill.core.errors import PotstillError
from potstill.labels import Needs, own_draws
from potstill.nets.fit import View
from potstill.nets.predict import predict


class TeacherLabels:
    """Kullback-Leibler divergence from the teacher's to the student's softmax, both at one temperature.

    Source: RDED (arXiv:2312.03526), validation code: mean over images of sum over classes of p (log p -
    log q), with no factor of the temperature's square and no hard-label term. No departure. The teacher
    is put into eval mode and its parameters are frozen. Raises PotstillError without a teacher or a
    positive temperature.
    """

    needs: ClassVar[Needs] = "teacher"

    def __init__(self, teacher: nn.Module | None, temperature: float | None) -> None:
        if teacher is None:
            raise PotstillError("teacher labels need a trained net as the teacher; none was given")
        if temperature is None or not temperature > 0:
            raise PotstillError(f"teacher labels need a temperature above 0, not {temperature}")
        self.teacher = teacher.eval().requires_grad_(False)
        self.temperature = temperature

    def draws(self, seed: int) -> torch.Generator:
        """The student's own."""
        return own_draws(seed)

    def loss(self, student_logits: Tensor, view: View) -> Tensor:
        """The divergence on the view's images; its class shares are not looked at. See `Labeller.loss`."""
        wanted = functional.log_softmax(predict(self.teacher, view.images) / self.temperature, 1)
        found = functional.log_softmax(student_logits / self.temperature, 1)
        return functional.kl_div(found, wanted, reduction="batchmean", log_target=True)
