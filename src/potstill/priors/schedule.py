"""Which timesteps a sampler takes, and how it steps clean latents: diffusers' schedulers, made to fit a prior."""

from collections.abc import Mapping
from typing import Any

import torch

from potstill.core.errors import PotstillError
from potstill.core.table import Table

SOLVERS = Table(
    "solver",
    {
        "ddim": "diffusers:DDIMScheduler",
        "ancestral": "diffusers:DDPMScheduler",
        "dpm-solver++": "diffusers:DPMSolverMultistepScheduler",
        "unipc": "diffusers:UniPCMultistepScheduler",
    },
)


def schedule(
    config: Mapping[str, Any],
    steps: int,
    solver: str,
    *,
    learned: bool = False,
    respaced: bool = False,
    device: torch.device | str = "cpu",
) -> Any:
    """A scheduler of diffusers that steps clean latents, with its timesteps set.

    `config` is a pipeline scheduler's: its noise schedule is kept, and its spacing too but for "ancestral", which
    is the sampler of Ho et al. 2020 (arXiv:2006.11239) on the timesteps of DiT's code, evenly from first to last, with
    the network's own variance where it `learned` one, as Minimax samples. DDIM takes the same timesteps where the prior
    is `respaced`: it is then DPM-Solver++ of order 1, which is DDIM (Lu et al. 2022, arXiv:2211.01095), for diffusers'
    own takes no grid. Clean latents are never clipped, whatever the pipeline says. Raises PotstillError for an unknown
    solver, and for a number of steps that begins outside the noise schedule or more than one step and a fifth of it
    below its end, as a "leading" spacing does where it must round.
    """
    trained = config["num_train_timesteps"]
    if not 1 <= steps <= trained:
        raise PotstillError(f"steps must lie between 1 and {trained}, not {steps}")
    changed: dict[str, Any] = {"prediction_type": "sample", "clip_sample": False, "thresholding": False}
    kind, evenly = SOLVERS[solver], solver == "ancestral" or (solver == "ddim" and respaced)
    if solver == "ancestral":
        changed["variance_type"] = "learned_range" if learned else "fixed_small"
    elif evenly:
        kind = SOLVERS["dpm-solver++"]
        changed |= {"solver_order": 1, "algorithm_type": "dpmsolver++", "final_sigmas_type": "zero"}
    scheduler = kind.from_config(config, **changed)
    if float(scheduler.init_noise_sigma) != 1:
        raise PotstillError(
            f"{kind.__name__} noises by adding sigma times the noise, which is not what is stepped here"
        )
    if evenly and steps < 2:
        raise PotstillError(
            f"{solver} from the first to the last timestep needs at least 2 steps, not {steps}"
        )
    if evenly:
        grid = torch.linspace(0, trained - 1, steps, dtype=torch.float64).round().int()
        scheduler.set_timesteps(timesteps=grid.flip(0).tolist(), device=device)
        return scheduler

    def fits(count: int) -> bool:
        scheduler.set_timesteps(count, device=device)
        return 0 < trained - int(scheduler.timesteps[0]) <= trained / count + trained / 5

    if not fits(steps):
        begin = int(scheduler.timesteps[0])
        fewer = next(count for count in range(steps - 1, 0, -1) if fits(count))
        more = next((count for count in range(steps + 1, trained + 1) if fits(count)), None)
        raise PotstillError(
            f"{steps} steps of {solver} begin at timestep {begin} of {trained} in this pipeline's spacing. "
            f"Allowed next to it: {fewer}{'' if more is None else f' or {more}'}."
        )
    return scheduler
