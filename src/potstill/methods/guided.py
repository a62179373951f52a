"""Images sampled from a diffusion prior, bent by guidance terms: DiT, unCLIP, and CONCORD on either."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from potstill.concepts import ConceptSpace, Vocabulary
from potstill.core.errors import PotstillError, unknown
from potstill.core.fingerprint import fingerprint
from potstill.core.progress import OnStep, silent
from potstill.core.seeds import generator
from potstill.core.settings import require_allowed
from potstill.data.real import RealData
from potstill.distilled import Slot
from potstill.encoders import Encoder
from potstill.guidance import Targets, Term, guided
from potstill.guidance.free import ClassifierFree
from potstill.guidance.push import Pace, Push
from potstill.guidance.scores import IGNORE_NEGATIVES, OBJECTIVES, ClassifierScore, ConceptScore, MeanCosine
from potstill.methods.method import Made
from potstill.nets.store import load_net
from potstill.priors import Prior, Request
from potstill.priors.execution import Execution
from potstill.priors.prior import to_pixels
from potstill.priors.tiny import decode_tiny, load_tiny
from potstill.sampling import Start, sample

ATTEMPTS = 3
"""How often an image is drawn before values that are not finite end the run."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Guided:
    """Sampling from a prior with classifier-free guidance `scale` (1 does without) and further terms.

    Source: CONCORD (arXiv:2505.18358) with a concept term; DiT and unCLIP without. `solver` is "ddim",
    "unipc", "dpm-solver++", or "ancestral", as Minimax samples; 50 steps as in the paper. `original` computes DiT as
    its authors do, see `DiT.as_published`. `dtype` is what networks compute in; `execution` saves time or memory.
    """

    kind: Literal["guided"] = "guided"
    prior: str
    scale: float = 4.0
    terms: tuple[ConceptTerm | ClassifierTerm, ...] = ()
    steps: int = 50
    solver: str = "ddim"
    original: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    execution: Execution = field(default_factory=Execution)

    def __post_init__(self) -> None:
        require_allowed(self)
        if not math.isfinite(self.scale):
            raise PotstillError(f"the scale of guidance must be finite, not {self.scale}")
        if self.execution.compile and any(term.pace.look == "full" for term in self.terms):
            raise PotstillError(
                "execution.compile is for denoisers that nothing differentiates; look is 'full' here"
            )

    def prepare(self, real: RealData, *, seed: int, images_per_class: int, device: str) -> "GuidedSampler":
        """Loads prior, encoder and classifier, and ranks the concepts of every class.

        Raises PotstillError for a number of steps or a pace that the prior can't do, and for a class without images.
        """
        prior = Prior.from_pretrained(self.prior, device=device, dtype=getattr(torch, self.dtype))
        if self.original:
            prior.as_published()
        self.execution.arrange(prior)
        total, side = len(prior.schedule(self.steps, self.solver).timesteps), min(prior.latent_shape[1:])
        for term in self.terms:
            term.pace.window(total)
            if term.pace.pool > side:
                raise PotstillError(
                    f"pace.pool must be at most {side}, the latents' side, not {term.pace.pool}"
                )
        empty = [key for label, key in enumerate(real.classes.keys) if not len(real.train.of_class(label))]
        if empty:
            raise PotstillError(f"{real.name} has no training images of class {', '.join(empty[:20])}")
        return GuidedSampler(
            self, real, prior, seed, tuple(_load_term(term, prior, real) for term in self.terms)
        )


@dataclass(frozen=True)
class LoadedTerm:
    """A term with its models: how to build it for a batch, the concepts it aims at, the weights it uses."""

    build: Callable[[Targets, OnStep], Term]
    space: ConceptSpace | None
    complete: Tensor | None
    weights: Mapping[str, str]


def _load_term(term: ConceptTerm | ClassifierTerm, prior: Prior, real: RealData) -> LoadedTerm:
    if isinstance(term, ClassifierTerm):
        return _load_classifier(term, prior, real)
    return _load_concept(term, prior, real)


def _load_classifier(term: ClassifierTerm, prior: Prior, real: RealData) -> LoadedTerm:
    stored = load_net(term.classifier).narrowed(real.classes).to(prior.device)

    def build(targets: Targets, on_step: OnStep) -> Term:
        return Push(score=ClassifierScore(stored.logits), pace=term.pace, targets=targets, on_step=on_step)

    return LoadedTerm(build, None, None, {term.classifier: fingerprint([stored.module])})


def _load_concept(term: ConceptTerm, prior: Prior, real: RealData) -> LoadedTerm:
    name, device, dtype = term.vocabulary.encoder, str(prior.device), prior.vae.dtype
    encoder = Encoder.from_pretrained(name, device=device, dtype=dtype)
    space = ConceptSpace.build(term.vocabulary, encoder, real)
    if not space.similarity.isfinite().any() and term.objective not in IGNORE_NEGATIVES:
        raise PotstillError(f"concept informing needs classes of at least two names; {real.name} has one")
    score = ConceptScore(encoder, OBJECTIVES[term.objective], term.temperature)
    complete = None if term.pace.until is None else space.completeness(term.pace.until)
    weights, decode = {name: encoder.fingerprint}, prior.decode
    if term.tiny is not None:
        tiny = load_tiny(term.tiny, device, dtype)
        weights[term.tiny], decode = fingerprint([tiny]), partial(decode_tiny, tiny)

    def build(targets: Targets, on_step: OnStep) -> Term:
        gauge = MeanCosine(encoder)
        return Push(score=score, pace=term.pace, targets=targets, gauge=gauge, decode=decode, on_step=on_step)

    return LoadedTerm(build, space, complete, weights)


@dataclass(frozen=True)
class GuidedSampler:
    """Guided sampling made ready: every image has its own generators, from (seed, class, index)."""

    settings: Guided
    real: RealData
    prior: Prior
    seed: int
    loaded: tuple[LoadedTerm, ...]

    @property
    def size(self) -> int:
        """The prior's image size, in pixels."""
        return self.prior.size

    @property
    def weights(self) -> Mapping[str, str]:
        """Prior, encoder, tiny decoder and classifier, each with its hash."""
        merged = {self.settings.prior: self.prior.fingerprint}
        for term in self.loaded:
            merged |= term.weights
        return merged

    def make(self, slots: Sequence[Slot], on_step: OnStep = silent) -> list[Made]:
        """Samples one image a slot."""
        labels = [self.real.classes.index(slot.key) for slot in slots]
        shown = [self.real.train.of_class(label).tolist() for label in labels]
        return self.sampled(slots, shown, on_step=on_step)

    def sampled(
        self,
        slots: Sequence[Slot],
        shown: Sequence[Sequence[int]],
        *,
        start: Start | None = None,
        on_step: OnStep = silent,
    ) -> list[Made]:
        """One image a slot: `shown` are the rows of real images of which the prior may be shown one; from `start`.

        An image that comes out with a value that is not finite is drawn again from its own next generator, and its
        detail "attempt" says so. Raises PotstillError for one that does so `ATTEMPTS` times.
        """
        details: list[dict[str, Any]] = [{} for _ in slots]
        latents = self._latents(slots, shown, start, details, 0, on_step)
        for attempt in range(1, ATTEMPTS):
            broken = (~latents.isfinite().flatten(1).all(1)).nonzero()[:, 0].tolist()
            if not broken:
                break
            again = [{"attempt": attempt} for _ in broken]
            asked = [slots[place] for place in broken], [shown[place] for place in broken]
            begun = None if start is None else replace(start, latents=start.latents[broken])
            latents[broken] = self._latents(*asked, begun, again, attempt, on_step)
            for place, detail in zip(broken, again, strict=True):
                details[place] = detail
        lost = [slot.file_name for slot, own in zip(slots, latents, strict=True) if not own.isfinite().all()]
        if lost:
            raise PotstillError(
                f"{self.settings.prior} gives values that are not finite for "
                f"{', '.join(lost[:5])}, {ATTEMPTS} times each: "
                "lower the weight of the terms or the scale, or compute in float32"
            )
        images = to_pixels(self.prior.decode, latents)
        return [Made(image, detail) for image, detail in zip(images, details, strict=True)]

    def _latents(
        self,
        slots: Sequence[Slot],
        shown: Sequence[Sequence[int]],
        start: Start | None,
        details: list[dict[str, Any]],
        attempt: int,
        on_step: OnStep,
    ) -> Tensor:
        """Clean latents of an attempt; what is to be recorded of each image goes into its detail."""
        labels = [self.real.classes.index(slot.key) for slot in slots]
        later = ("attempt", attempt) if attempt else ()
        draws = [generator(self.seed, "image", slot.key, slot.index, *later) for slot in slots]
        requests = [
            Request(slot.key, self.real.classes.names[label], draw, self.real.train, rows)
            for slot, label, draw, rows in zip(slots, labels, draws, shown, strict=True)
        ]
        condition = self.prior.condition(requests)
        noise = self.prior.noise(draws)
        terms: list[Term] = [ClassifierFree(self.settings.scale)]
        for loaded in self.loaded:
            terms.append(loaded.build(self._targets(loaded, slots, labels, details), on_step))
        return sample(
            self.prior,
            guided(self.prior, condition, terms),
            noise,
            steps=self.settings.steps,
            solver=self.settings.solver,
            start=start,
            draws=draws,
            on_step=on_step,
        )

    def _targets(
        self, loaded: LoadedTerm, slots: Sequence[Slot], labels: Sequence[int], details: list[dict[str, Any]]
    ) -> Targets:
        rows = torch.tensor(labels, device=self.prior.device)
        space = loaded.space
        if space is None:
            return Targets(rows)
        drawn = []
        for slot, label, detail in zip(slots, labels, details, strict=True):
            negatives = space.negatives(label, generator(self.seed, "negatives", slot.key, slot.index))
            others = torch.tensor(negatives, dtype=torch.int64, device=rows.device).reshape(-1, 2)
            drawn.append(space.texts[others[:, 0], others[:, 1]])
            detail["negatives"] = [
                {"class": space.keys[other], "phrase": space.phrases[other][phrase]}
                for other, phrase in negatives
            ]
        complete = None if loaded.complete is None else loaded.complete[rows]
        return Targets(rows, space.texts[rows], torch.stack(drawn), complete)
