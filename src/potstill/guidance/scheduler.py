"""Guidance terms for anyone's diffusers pipeline, by wrapping its scheduler."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.guidance import Bound, Moment, Term
from potstill.priors import Condition, Prior
from potstill.priors.prior import from_clean, to_clean


def inform(scheduler: Any, prior: Prior, terms: Sequence[Term]) -> "InformedScheduler":
    """A scheduler that bends what it is given by guidance terms and is otherwise the one it wraps.

    `pipe.scheduler = inform(pipe.scheduler, Prior.from_pretrained(...), terms)` informs a diffusers pipeline
    unmodified; `prior` decodes for the look and may wrap the same pipeline (`potstill.priors.PRIORS`). The terms
    aim at as many images as the pipeline draws at a time. Raises PotstillError for a scheduler whose samples are
    x0 + sigma eps and not sqrt(a) x0 + sqrt(1 - a) eps, for terms of different numbers of images, and for one that
    runs the denoiser, which a scheduler cannot see.
    """
    if float(scheduler.init_noise_sigma) != 1:
        raise PotstillError(
            f"{type(scheduler).__name__} noises by adding sigma times the noise, which terms would misread. "
            "Allowed: an init_noise_sigma of 1, as of DDIM, DDPM, PNDM, DEIS, DPM-Solver and UniPC."
        )
    if any(term.through_denoiser or term.runs_denoiser for term in terms):
        raise PotstillError(
            "a scheduler can't see the denoiser, which classifier-free guidance and look 'full' run: use a pipeline's "
            "own guidance_scale or potstill's own loop. Allowed looks: noisy, clean."
        )
    return InformedScheduler(scheduler, prior, terms)


class InformedScheduler:
    """A diffusers scheduler seen from outside, with terms applied in `step`."""

    def __init__(self, scheduler: Any, prior: Prior, terms: Sequence[Term]) -> None:
        self._scheduler, self._prior, self._terms = scheduler, prior, terms
        self._bound: list[Bound] = []
        self._next: int | None = None
        aims = {term.images for term in terms if term.images is not None}
        if len(aims) > 1:
            raise PotstillError(f"the terms aim at different numbers of images: {sorted(aims)}")
        self._images = aims.pop() if aims else 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_scheduler"], name)

    def __len__(self) -> int:
        return len(self._scheduler)

    def set_timesteps(self, *positional: Any, **named: Any) -> None:
        """Starts a new run: the terms forget the last one."""
        self._scheduler.set_timesteps(*positional, **named)
        self._bound = [term.bind(self._prior, Condition({})) for term in self._terms]
        self._next = None

    def step(
        self,
        model_output: Tensor,
        timestep: Any,
        sample: Tensor,
        eta: float = 0.0,
        generator: Any = None,
        return_dict: bool = True,
        **named: Any,
    ) -> Any:
        """The wrapped scheduler's step, taken from the bent prediction.

        A run may begin part-way, as from an image: the first timestep's place in the schedule is counted on from.
        """
        t = torch.as_tensor(timestep)
        places = self._scheduler.timesteps.tolist()
        index = places.index(t.item()) if self._next is None else self._next
        self._next = index + 1
        moment = Moment(index, len(places), t, self._prior.alpha_bar(t))
        bent = self._bend(model_output, sample, moment)
        accepted = self._accepted({"eta": eta, "generator": generator})
        return self._scheduler.step(bent, timestep, sample, return_dict=return_dict, **accepted, **named)

    def _accepted(self, extra: dict[str, Any]) -> dict[str, Any]:
        known = inspect.signature(self._scheduler.step).parameters
        return {name: value for name, value in extra.items() if name in known}

    def _bend(self, model_output: Tensor, sample: Tensor, moment: Moment) -> Tensor:
        """Prediction to clean latent, terms, and back.

        A guided DiT hands over every image twice, twice as many as the terms aim at: one of the halves is bent.
        """
        rows = len(sample)
        doubled = rows == 2 * self._images and all(
            torch.equal(*part.chunk(2)) for part in (sample, model_output)
        )
        kept = slice(rows // 2) if doubled else slice(rows)
        x_t, raw = sample[kept].float(), model_output[kept].float()
        clean = x0 = to_clean(raw, x_t, moment.alpha_bar, self._scheduler.config.prediction_type)
        for term in self._bound:
            x0 = term(x_t, moment, x0)
        if x0 is clean:
            return model_output
        bent = from_clean(x0, x_t, moment.alpha_bar, self._scheduler.config.prediction_type)
        return (torch.cat([bent, bent]) if doubled else bent).to(model_output.dtype)
