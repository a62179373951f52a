"""The concepts of a data set in an encoder's space: the phrases kept, what they score on real images, negatives."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from potstill.concepts.bank import ConceptBank
from potstill.concepts.negatives import NEGATIVES
from potstill.concepts.spread import spread
from potstill.concepts.validity import most_valid
from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.data.real import RealData
from potstill.encoders import Encoder

REAL_IMAGES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Which concepts are used: a bank, the encoder that checks them, how many a class, and how negatives are drawn.

    Defaults: CONCORD, section 4.1: 5 of 10 phrases, 10 negatives, each of a different class, weighted policy.
    Where a data set has fewer other classes than `negatives`, all of them lend one. Every class needs `keep` phrases,
    at least 1; `negatives` may be 0. Raises PotstillError for fewer.
    """

    bank: str
    encoder: str
    keep: int = 5
    negatives: int = 10
    policy: str = "weighted"

    def __post_init__(self) -> None:
        for name, least in (("keep", 1), ("negatives", 0)):
            if getattr(self, name) < least:
                raise PotstillError(f"vocabulary.{name} must be at least {least}, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class ConceptSpace:
    """A vocabulary made ready for a data set's classes.

    `phrases` [class][k] best first; `texts` [class, k, d] their unit embeddings; `similarity` [class, class] the
    cosines of class names, -inf between a class and itself or another of the same name; `real` [class] the cosines
    of up to 200 real images to the k phrases, [n, k]; `real_spread` [class] how far those images lie apart.
    """

    vocabulary: Vocabulary
    keys: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...]
    texts: Tensor
    similarity: Tensor
    real: tuple[Tensor, ...]
    real_spread: tuple[float | None, ...]

    @classmethod
    def build(cls, vocabulary: Vocabulary, encoder: Encoder, real: RealData) -> "ConceptSpace":
        """Ranks each class's phrases on its real training images (Eq. 10) and keeps the best.

        At most 200 images of a class are looked at, drawn by a generator that depends on the class alone. Raises
        PotstillError where classes have fewer phrases than are to be kept.
        """
        NEGATIVES[vocabulary.policy]
        keys = real.classes.keys
        bank = ConceptBank.load(vocabulary.bank).select(keys)
        entries = [bank.entries[key] for key in keys]
        few = [
            f"{entry.key} ({len(entry.concepts)})"
            for entry in entries
            if len(entry.concepts) < vocabulary.keep
        ]
        if few:
            raise PotstillError(
                f"vocabulary.keep is {vocabulary.keep}, and these classes of {vocabulary.bank} have fewer phrases: "
                f"{', '.join(few[:20])}. Keep fewer or write more."
            )
        images = [encoder.images_of(real.train, sample_of_class(real, label)) for label in range(len(keys))]
        texts = [encoder.texts(entry.texts()) for entry in entries]
        kept = [most_valid(seen, text, vocabulary.keep) for seen, text in zip(images, texts, strict=True)]
        chosen = [text[rows] for text, rows in zip(texts, kept, strict=True)]
        names = encoder.texts([entry.class_name for entry in entries])
        same = torch.tensor([[one.class_name == other.class_name for other in entries] for one in entries])
        return cls(
            vocabulary,
            keys,
            tuple(
                tuple(entry.concepts[row] for row in rows) for entry, rows in zip(entries, kept, strict=True)
            ),
            torch.stack(chosen),
            (names @ names.T).cpu().masked_fill(same, -torch.inf),
            tuple(seen @ text.T for seen, text in zip(images, chosen, strict=True)),
            tuple(spread(seen) for seen in images),
        )

    def negatives(self, label: int, draw: torch.Generator) -> list[tuple[int, int]]:
        """Draws one image's negatives as (class, phrase) positions: one phrase each of different other classes.

        The order of the classes decides nothing; all images have equally many, at most as each class has others.
        """
        order = sorted(range(len(self.keys)), key=self.keys.__getitem__)
        least = int(self.similarity.isfinite().sum(1).min())
        policy, count = NEGATIVES[self.vocabulary.policy], min(self.vocabulary.negatives, least)
        classes = [order[place] for place in policy(self.similarity[label][order], count, draw)]
        phrases = torch.randint(self.texts.shape[1], (len(classes),), generator=draw).tolist()
        return list(zip(classes, phrases, strict=True))

    def real_scores(self) -> Mapping[str, Mapping[str, tuple[float, ...]]]:
        """The 5, 50 and 95 per cent quantiles of the cosine on real images, for every class and phrase kept."""
        return {
            key: {phrase: _quantiles(column) for phrase, column in zip(phrases, scores.T, strict=True)}
            for key, phrases, scores in zip(self.keys, self.phrases, self.real, strict=True)
        }

    def real_means(self) -> Mapping[str, tuple[float, ...]]:
        """The same quantiles of an image's mean cosine to its class's phrases, for every class."""
        return {key: _quantiles(scores.mean(1)) for key, scores in zip(self.keys, self.real, strict=True)}

    def completeness(self, quantile: float) -> Tensor:
        """For every class the mean cosine to its phrases that a share `quantile` of its real images stays below."""
        return torch.stack([scores.mean(1).quantile(quantile) for scores in self.real])


def sample_of_class(real: RealData, label: int) -> list[int]:
    """Up to 200 training rows of a class, always the same ones."""
    rows = real.train.of_class(label)
    draw = generator("validity", real.classes.keys[label])
    return rows[torch.randperm(len(rows), generator=draw)[:REAL_IMAGES]].tolist()


def _quantiles(values: Tensor) -> tuple[float, ...]:
    levels = torch.tensor([0.05, 0.5, 0.95]).to(values)
    return tuple(round(float(value), 4) for value in values.quantile(levels))
