"""Soft labels read from a set's file, for the very views that a teacher labelled."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from potstill.core.errors import PotstillError
from potstill.labels import Needs
from potstill.labels.views import ViewLabels
from potstill.nets.fit import View


class StoredLabels:
    """Kullback-Leibler divergence from stored to the student's softmax, both at one temperature.

    Source: SRe2L (arXiv:2306.13092), train_FKD: mean over images, no factor of the temperature's square, no
    hard-label term. Every student sees the same views, those of the file; its seed decides its start values alone.
    Raises PotstillError without labels or a positive temperature.
    """

    needs: ClassVar[Needs] = "file"

    def __init__(self, source: ViewLabels | None, temperature: float | None) -> None:
        if source is None:
            raise PotstillError("stored labels need a set's file of them; none was given")
        if temperature is None or not temperature > 0:
            raise PotstillError(f"stored labels need a temperature above 0, not {temperature}")
        self.source, self.temperature = source, temperature

    def draws(self, seed: int) -> torch.Generator:
        """That of the labelled views, whatever the student's seed."""
        return self.source.draws()

    def loss(self, student_logits: Tensor, view: View) -> Tensor:
        """The divergence on the view's images; its class shares are not looked at. See `Labeller.loss`."""
        logits = self.source.logits(view).to(student_logits)
        wanted = functional.log_softmax(logits / self.temperature, 1)
        found = functional.log_softmax(student_logits / self.temperature, 1)
        return functional.kl_div(found, wanted, reduction="batchmean", log_target=True)
