"""What is seen of each image as it is made: its concept scores and a teacher's confidence, whatever the method."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from potstill.concepts import ConceptSpace, Vocabulary
from potstill.concepts.spread import spread
from potstill.core.blocks import in_blocks
from potstill.core.fingerprint import fingerprint
from potstill.data.real import RealData
from potstill.distilled import Slot
from potstill.encoders import Encoder
from potstill.methods import Made
from potstill.nets.store import StoredNet, load_net


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Who looks at each image: a vocabulary's encoder, and a teacher (a folder or shipped name) where given."""

    vocabulary: Vocabulary
    teacher: str | None = None


@dataclass(frozen=True)
class Witness:
    """An encoder and a teacher made ready for a data set; they judge images and change nothing."""

    settings: Seen
    encoder: Encoder
    space: ConceptSpace
    teacher: StoredNet | None

    @classmethod
    def prepare(cls, settings: Seen, real: RealData, *, device: str = "cpu") -> "Witness":
        """Loads the encoder and the teacher and ranks the concepts of every class."""
        encoder = Encoder.from_pretrained(settings.vocabulary.encoder, device=device)
        space = ConceptSpace.build(settings.vocabulary, encoder, real)
        if settings.teacher is None:
            return cls(settings, encoder, space, None)
        stored = load_net(settings.teacher).narrowed(real.classes).to(device)
        return cls(settings, encoder, space, stored)

    @property
    def weights(self) -> Mapping[str, str]:
        """The models that judge: name to hex SHA-256."""
        used = {self.settings.vocabulary.encoder: self.encoder.fingerprint}
        if self.settings.teacher is not None and self.teacher is not None:
            used[self.settings.teacher] = fingerprint([self.teacher.module])
        return used

    @property
    def real_spread(self) -> Mapping[str, float]:
        """How far real images of each class lie apart, where a class has more than one."""
        return known(zip(self.space.keys, self.space.real_spread, strict=True))

    @torch.no_grad()
    def spread(self, images: Tensor) -> float | None:
        """How far a class's images, uint8 [n, 3, height, width], lie apart."""
        return spread(in_blocks(self.encoder.images, images.float().to(self.encoder.device) / 255))

    @torch.no_grad()
    def describe(self, slots: Sequence[Slot], made: Sequence[Made]) -> list[dict[str, Any]]:
        """For each image its class's concepts, their cosines, and the teacher's confidence in the class."""
        pixels = torch.stack([one.image for one in made]).float().to(self.encoder.device) / 255
        labels = torch.tensor([self.space.keys.index(slot.key) for slot in slots], device=pixels.device)
        embedded = in_blocks(self.encoder.images, pixels)
        scores = (embedded[:, None] * self.space.texts[labels]).sum(2)
        notes: list[dict[str, Any]] = [
            {"concepts": list(self.space.phrases[label]), "scores": [round(float(value), 4) for value in row]}
            for label, row in zip(labels.tolist(), scores, strict=True)
        ]
        if self.teacher is not None:
            sure = in_blocks(self.teacher.logits, pixels).softmax(1).gather(1, labels[:, None])[:, 0]
            for note, value in zip(notes, sure, strict=True):
                note["teacher"] = round(float(value), 4)
        return notes


def known(pairs: Iterable[tuple[str, float | None]]) -> Mapping[str, float]:
    """The pairs that have a value, to four places."""
    return {key: round(value, 4) for key, value in pairs if value is not None}
