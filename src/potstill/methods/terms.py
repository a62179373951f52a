"""Guidance terms as settings, and how each loads its models: concept informing and classifier guidance."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from torch import Tensor

from potstill.concepts import ConceptSpace, Vocabulary
from potstill.core.errors import PotstillError, unknown
from potstill.core.fingerprint import fingerprint
from potstill.core.progress import OnStep
from potstill.data.real import RealData
from potstill.encoders import Encoder
from potstill.guidance import Targets, Term
from potstill.guidance.push import Pace, Push
from potstill.guidance.scores import IGNORE_NEGATIVES, OBJECTIVES, ClassifierScore, ConceptScore, MeanCosine
from potstill.nets.store import load_net
from potstill.priors import Prior
from potstill.priors.tiny import decode_tiny, load_tiny


@dataclass(frozen=True)
class LoadedTerm:
    """A term with its models: how to build it for a batch, the concepts it aims at, the weights it uses."""

    build: Callable[[Targets, OnStep], Term]
    space: ConceptSpace | None
    complete: Tensor | None
    weights: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptTerm:
    """Concept informing: an objective on a vocabulary, at a pace; `tiny` names an AutoencoderTiny for the look.

    The temperature of 0.05 is that of the authors' code; the paper gives none.
    """

    kind: Literal["concept"] = "concept"
    vocabulary: Vocabulary
    objective: str = "contrastive"
    temperature: float = 0.05
    pace: Pace = field(default_factory=Pace)
    tiny: str | None = None

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise unknown("objective", self.objective, OBJECTIVES)
        if not 0 < self.temperature < math.inf:
            raise PotstillError(f"the temperature must be positive, not {self.temperature}")
        if self.vocabulary.negatives == 0 and self.objective not in IGNORE_NEGATIVES:
            raise PotstillError(
                f"objective {self.objective!r} needs negatives and vocabulary.negatives is 0. Allowed: at least 1, "
                f"or the objective {' or '.join(IGNORE_NEGATIVES)}."
            )

    def load(self, prior: Prior, real: RealData) -> LoadedTerm:
        """The encoder and the concepts of every class; raises PotstillError for a lone class without negatives."""
        name, device, dtype = self.vocabulary.encoder, str(prior.device), prior.vae.dtype
        encoder = Encoder.from_pretrained(name, device=device, dtype=dtype)
        space = ConceptSpace.build(self.vocabulary, encoder, real)
        if not space.similarity.isfinite().any() and self.objective not in IGNORE_NEGATIVES:
            raise PotstillError(f"concept informing needs classes of at least two names; {real.name} has one")
        score = ConceptScore(encoder, OBJECTIVES[self.objective], self.temperature)
        complete = None if self.pace.until is None else space.completeness(self.pace.until)
        weights, decode = {name: encoder.fingerprint}, prior.decode
        if self.tiny is not None:
            tiny = load_tiny(self.tiny, device, dtype)
            weights[self.tiny], decode = fingerprint([tiny]), partial(decode_tiny, tiny)

        def build(targets: Targets, on_step: OnStep) -> Term:
            gauge = MeanCosine(encoder)
            return Push(
                score=score, pace=self.pace, targets=targets, gauge=gauge, decode=decode, on_step=on_step
            )

        return LoadedTerm(build, space, complete, weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierTerm:
    """Classifier guidance by a trained net (a folder or shipped name), at a pace, which has no `until`.

    The net sees images at its own size.
    """

    kind: Literal["classifier"] = "classifier"
    classifier: str
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        if self.pace.until is not None:
            raise PotstillError(
                f"classifier term: pace.until is {self.pace.until}, but measures concepts. Allowed: none."
            )

    def load(self, prior: Prior, real: RealData) -> LoadedTerm:
        """The net, narrowed to the classes; raises PotstillError for a class that it does not know."""
        stored = load_net(self.classifier).narrowed(real.classes).to(prior.device)

        def build(targets: Targets, on_step: OnStep) -> Term:
            return Push(
                score=ClassifierScore(stored.logits), pace=self.pace, targets=targets, on_step=on_step
            )

        return LoadedTerm(build, None, None, {self.classifier: fingerprint([stored.module])})


Terms = tuple[ConceptTerm | ClassifierTerm, ...]
"""Terms that settings can name, from left to right."""
