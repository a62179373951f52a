"""Images sampled from a diffusion prior, bent by guidance terms: DiT, unCLIP, and CONCORD on either."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.core.progress import OnStep, silent
from potstill.core.seeds import generator
from potstill.core.settings import require_allowed
from potstill.data.real import RealData
from potstill.distilled import Slot
from potstill.guidance import Targets, Term, guided
from potstill.guidance.free import ClassifierFree
from potstill.methods.method import Made
from potstill.methods.terms import LoadedTerm, Terms
from potstill.priors import Prior, Request
from potstill.priors.execution import Execution
from potstill.priors.prior import to_pixels
from potstill.sampling import Start, sample

ATTEMPTS = 3
"""How often an image is drawn before values that are not finite end the run."""


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
    terms: Terms = ()
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
        return GuidedSampler(self, real, prior, seed, tuple(term.load(prior, real) for term in self.terms))


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
        merged = {self.settings.prior: self.prior.provenance}
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
