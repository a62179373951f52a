"""What an encoder sees in real images, for a person choosing phrases: computed when asked for, and kept."""

import io
import threading

import torch
from torch import Tensor

from potstill.concepts.bank import ConceptBank, Entry
from potstill.concepts.space import REAL_IMAGES, sample_of_class
from potstill.concepts.validity import validity
from potstill.core.errors import PotstillError
from potstill.data.read import square
from potstill.data.real import RealData
from potstill.encoders import Encoder

LARGEST = 192
"""The side of a thumbnail in px."""

NEAR = 10
"""Other classes that are looked at: as many as CONCORD draws negatives from (section 4.1)."""


class Seen:
    """Phrases and real images in an encoder's space, usable from several threads.

    Of a class the same up to 200 training images are looked at as in `check`. Raises PotstillError for a class
    without images.
    """

    def __init__(self, encoder: Encoder, real: RealData) -> None:
        self._encoder, self._real = encoder, real
        self._lock = threading.Lock()
        self._images: dict[str, tuple[list[int], Tensor]] = {}
        self._texts: dict[str, Tensor] = {}
        counts = real.train.labels.bincount(minlength=len(real.classes)).tolist()
        self.counts = {
            key: min(count, REAL_IMAGES) for key, count in zip(real.classes.keys, counts, strict=True)
        }

    def validity(self, entry: Entry) -> list[float]:
        """The validity of a class's phrases (CONCORD, Eq. 10), in their order."""
        with self._lock:
            return validity(self._of_class(entry.key)[1], self._embedded(entry.texts())).tolist()

    def ranked(self, entry: Entry, of: str) -> list[tuple[int, float]]:
        """Images of the class `of` as (training row, cosine to the entry's first phrase), best first."""
        with self._lock:
            rows, images = self._of_class(of)
            scores = images @ self._embedded(entry.texts()[:1])[0]
        order = scores.argsort(descending=True, stable=True).tolist()
        return [(rows[place], float(scores[place])) for place in order]

    def near(self, bank: ConceptBank, key: str) -> list[str]:
        """Up to 10 other classes with images, the most similar by name first, none of the same name."""
        keys = [other for other in bank.entries if other in self.counts]
        names = [bank.entries[other].class_name for other in keys]
        with self._lock:
            embedded = self._embedded([*names, bank.entries[key].class_name])
        order = (embedded[:-1] @ embedded[-1]).argsort(descending=True, stable=True).tolist()
        return [keys[place] for place in order if names[place] != bank.entries[key].class_name][:NEAR]

    def identity(self, row: int) -> str:
        """What names a training image for good."""
        return self._real.train.ids[row]

    def thumbnail(self, row: int) -> bytes | None:
        """A training image, cropped as the encoder sees it, as PNG of at most 192 px a side; None for no such row."""
        if row >= len(self._real.train):
            return None
        image = self._real.train.read(row)
        file = io.BytesIO()
        square(image, min(LARGEST, *image.size)).save(file, format="PNG")
        return file.getvalue()

    def _of_class(self, key: str) -> tuple[list[int], Tensor]:
        if key not in self.counts:
            raise PotstillError(f"{self._real.name} has no images of class {key!r}")
        if key not in self._images:
            rows = sample_of_class(self._real, self._real.classes.index(key))
            self._images[key] = rows, self._encoder.images_of(self._real.train, rows)
        return self._images[key]

    def _embedded(self, texts: list[str]) -> Tensor:
        new = list(dict.fromkeys(text for text in texts if text not in self._texts))
        if new:
            self._texts.update(zip(new, self._encoder.texts(new), strict=True))
        return torch.stack([self._texts[text] for text in texts])
