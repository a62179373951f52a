"""The one denoising loop."""

from typing import Any

import torch
from torch import Tensor

from potstill.core.progress import OnStep, Step, silent
from potstill.guidance import Denoiser, Moment
from potstill.priors import Prior


def sample(
    prior: Prior,
    denoise: Denoiser,
    noise: Tensor,
    *,
    steps: int,
    solver: str = "ddim",
    on_step: OnStep = silent,
) -> Tensor:
    """Runs a denoiser from standard normal latents [n, c, h, w] to clean ones.

    The solver is a diffusers scheduler that steps clean latents; "ddim" is CONCORD's Eq. 7 (eta 0).
    """
    schedule: Any = prior.schedule(steps, solver)
    x_t = noise * schedule.init_noise_sigma
    moments = schedule.timesteps
    for index, t in enumerate(moments):
        moment = Moment(index, len(moments), t, prior.alpha_bar(t))
        with torch.no_grad():
            x_t = schedule.step(denoise(x_t, moment), t, x_t, return_dict=False)[0]
        on_step(Step(stage="denoise", index=index + 1, total=len(moments)))
    return x_t
