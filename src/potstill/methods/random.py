"""Random real images: the baseline that every method must beat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from potstill.core.progress import OnStep, Step
from potstill.data.real import RealData, require_per_class, shuffled
from potstill.distilled import Slot
from potstill.methods.method import Made


@dataclass(frozen=True, slots=True, kw_only=True)
class Random:
    """Real training images drawn without replacement, class by class; the first images stay when more are asked for.

    `size` is the height and width in pixels; None takes the data set's own.
    """

    kind: Literal["random"] = "random"
    size: int | None = None

    def prepare(self, real: RealData, *, seed: int, images_per_class: int, device: str) -> "RandomImages":
        """Draws each class's order; raises PotstillError where a class has too few images."""
        require_per_class(real, images_per_class)
        order = {key: shuffled(real, key, seed) for key in real.classes.keys}
        return RandomImages(real, order, self.size or real.size)


@dataclass(frozen=True)
class RandomImages:
    """Random real images made ready: the row of every slot is known."""

    real: RealData
    order: Mapping[str, Sequence[int]]
    size: int

    @property
    def weights(self) -> Mapping[str, str]:
        """None are used."""
        return {}

    def make(self, slots: Sequence[Slot], on_step: OnStep) -> list[Made]:
        """The slots' real images, with where they come from."""
        made = []
        for done, slot in enumerate(slots, start=1):
            row = self.order[slot.key][slot.index]
            image = self.real.train.pixels([row], self.size)[0]
            made.append(Made(image, {"source": self.real.train.ids[row]}))
            on_step(Step(stage="read", index=done, total=len(slots)))
        return made
