"""The one denoising loop."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.core.progress import OnStep, Step, silent
from potstill.guidance import Denoiser, GuidedDenoiser, Moment
from potstill.priors import Prior


@dataclass(frozen=True, slots=True)
class Start:
    """Clean latents [n, c, h, w] to set out from: noised to `strength`, the share in (0, 1] of the steps to take."""

    latents: Tensor
    strength: float


def steps_taken(steps: int, strength: float) -> int:
    """How many of `steps` a strength in (0, 1] takes, rounded down; raises PotstillError for none."""
    if not 0 < strength <= 1:
        raise PotstillError(f"strength must lie above 0 and at most at 1, not {strength}")
    taken = int(round(steps * strength, 6))
    if taken < 1:
        raise PotstillError(f"strength {strength} of {steps} steps is less than one step")
    return taken


def sample(
    prior: Prior,
    denoise: Denoiser,
    noise: Tensor,
    *,
    steps: int,
    solver: str = "ddim",
    start: Start | None = None,
    draws: Sequence[torch.Generator] = (),
    on_step: OnStep = silent,
) -> Tensor:
    """Runs a denoiser from standard normal latents [n, c, h, w] to clean ones.

    The solver is a diffusers scheduler that steps clean latents; "ddim" is CONCORD's Eq. 7 (eta 0); "ancestral" draws
    noise at every step, from `draws`, a generator an image. With `start` only
    the schedule's last steps are taken, from its latents with `noise` added at the first of them; a moment keeps its
    place among all steps.
    """
    if solver == "ancestral" and len(draws) != len(noise):
        raise PotstillError(f"ancestral sampling draws for each image: {len(noise)} need as many generators")
    schedule: Any = prior.schedule(steps, solver)
    moments = schedule.timesteps
    if start is None:
        first, x_t = 0, noise * schedule.init_noise_sigma
    else:
        first = max(0, len(moments) - steps_taken(steps, start.strength))
        x_t = schedule.add_noise(start.latents, noise, moments[first : first + 1])
    ancestral = solver == "ancestral"
    noisy: dict[str, Any] = {"generator": list(draws)} if ancestral else {}
    for index, t in enumerate(moments[first:], start=first):
        moment = Moment(index, len(moments), t, prior.alpha_bar(t))
        with torch.no_grad():
            x0 = denoise(x_t, moment)
            if ancestral and isinstance(denoise, GuidedDenoiser) and denoise.spread is not None:
                x0 = torch.cat([x0, denoise.spread], 1)
            x_t = schedule.step(x0, t, x_t, **noisy, return_dict=False)[0]
        on_step(Step(stage="denoise", index=index - first + 1, total=len(moments) - first))
    return x_t
