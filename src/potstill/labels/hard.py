"""Hard labels: the class that an image was made for."""

from typing import ClassVar

from torch import Tensor, nn

from potstill.nets.fit import cross_entropy


class HardLabels:
    """Cross-entropy with the classes, which CutMix mixes by area.

    Source: Yun et al. 2019 (arXiv:1905.04899), Eq. 1, for mixed images; no departure. A teacher and a
    temperature are taken, as every labeller takes them, and not used.
    """

    needs_teacher: ClassVar[bool] = False

    def __init__(self, teacher: nn.Module | None = None, temperature: float | None = None) -> None:
        pass

    def loss(self, student_logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Mean of -sum over classes of share times log softmax; see `Labeller.loss`."""
        return cross_entropy(student_logits, images, labels)
