"""Soft labels asked of a teacher for each batch, on exactly the images that the student sees."""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from potstill.core.errors import PotstillError
from potstill.nets.predict import predict


class TeacherLabels:
    """Kullback-Leibler divergence from the teacher's to the student's softmax, both at one temperature.

    Source: RDED (arXiv:2312.03526), validation code: mean over images of sum over classes of p (log p -
    log q), with no factor of the temperature's square and no hard-label term. No departure. The teacher
    is put into eval mode and its parameters are frozen. Raises PotstillError without a teacher or a
    positive temperature.
    """

    needs_teacher: ClassVar[bool] = True

    def __init__(self, teacher: nn.Module | None, temperature: float | None) -> None:
        if teacher is None:
            raise PotstillError("teacher labels need a trained net as the teacher; none was given")
        if temperature is None or not temperature > 0:
            raise PotstillError(f"teacher labels need a temperature above 0, not {temperature}")
        self.teacher = teacher.eval().requires_grad_(False)
        self.temperature = temperature

    def loss(self, student_logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """The divergence on these images; `labels` are not looked at. See `Labeller.loss`."""
        wanted = functional.log_softmax(predict(self.teacher, images) / self.temperature, 1)
        found = functional.log_softmax(student_logits / self.temperature, 1)
        return functional.kl_div(found, wanted, reduction="batchmean", log_target=True)
