"""Hard labels: the class that an image was made for."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from potstill.labels import Needs, own_draws
from potstill.nets.fit import View, cross_entropy


class HardLabels:
    """Cross-entropy with the classes, which CutMix mixes by area.

    Source: Yun et al. 2019 (arXiv:1905.04899), Eq. 1, for mixed images; no departure. A source and a
    temperature are taken, as every labeller takes them, and not used.
    """

    needs: ClassVar[Needs] = "nothing"

    def __init__(self, source: nn.Module | None = None, temperature: float | None = None) -> None:
        pass

    def draws(self, seed: int) -> torch.Generator:
        """The student's own."""
        return own_draws(seed)

    def loss(self, student_logits: Tensor, view: View) -> Tensor:
        """Mean of -sum over classes of share times log softmax; see `Labeller.loss`."""
        return cross_entropy(student_logits, view)
