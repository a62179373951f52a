"""Every phrase of a data set's classes with its validity: what `concepts check` prints."""

from dataclasses import dataclass

from potstill.concepts.bank import ConceptBank
from potstill.concepts.space import sample_of_class
from potstill.concepts.validity import validity
from potstill.core.progress import OnStep, Step, silent
from potstill.data.real import RealData
from potstill.encoders import Encoder


@dataclass(frozen=True, slots=True)
class Checked:
    """One class: its phrases, most valid first, and their validity in [-1, 1]."""

    key: str
    name: str
    phrases: tuple[str, ...]
    validity: tuple[float, ...]


def check(bank: str, encoder: Encoder, real: RealData, *, on_step: OnStep = silent) -> list[Checked]:
    """Ranks the phrases of every class of a data set on up to 200 of its real training images (CONCORD, Eq. 10).

    Raises PotstillError where the bank lacks a class.
    """
    entries = ConceptBank.load(bank).select(real.classes.keys).entries
    checked = []
    for label, key in enumerate(real.classes.keys):
        images = encoder.images_of(real.train, sample_of_class(real, label))
        values = validity(images, encoder.texts(entries[key].texts()))
        order = values.argsort(descending=True, stable=True).tolist()
        phrases = tuple(entries[key].concepts[row] for row in order)
        checked.append(
            Checked(key, entries[key].class_name, phrases, tuple(float(values[row]) for row in order))
        )
        on_step(Step(stage="check", index=label + 1, total=len(real.classes)))
    return checked
