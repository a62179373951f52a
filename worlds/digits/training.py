"""The loop of every training here: it checkpoints every two minutes and goes on after a kill."""

import copy
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

BUILD = Path("build/worlds/digits")


def train(
    name: str,
    module: nn.Module,
    loss: Callable[[torch.Generator], Tensor],
    *,
    steps: int,
    rate: float,
    warm_up: int = 100,
    decay: float = 0.999,
    weight_decay: float = 0.0,
) -> tuple[nn.Module, float]:
    """Trains with AdamW, warm-up and a cosine to 0, and returns the averaged weights and the seconds it took.

    `loss` draws a batch from the generator it is given: one a step, seeded by the step, so that a resumed run
    sees the same batches.
    """
    averaged = copy.deepcopy(module).requires_grad_(False)
    optimiser = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=weight_decay, betas=(0.9, 0.99))
    file, begun, seconds = BUILD / f"{name}.ckpt", 0, 0.0
    if file.exists():
        state = torch.load(file, weights_only=True)
        module.load_state_dict(state["module"])
        averaged.load_state_dict(state["averaged"])
        optimiser.load_state_dict(state["optimiser"])
        begun, seconds = state["step"], state["seconds"]

    def keep(step: int) -> None:
        BUILD.mkdir(parents=True, exist_ok=True)
        state = {
            "module": module.state_dict(),
            "averaged": averaged.state_dict(),
            "optimiser": optimiser.state_dict(),
            "step": step,
            "seconds": seconds,
        }
        partial = file.with_suffix(f".{os.getpid()}.partial")
        torch.save(state, partial)
        partial.replace(file)

    kept = time.perf_counter()
    for step, told in _steps(name, begun, steps):
        started = time.perf_counter()
        share = min((step + 1) / warm_up, 1) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = rate * share
        value = loss(torch.Generator().manual_seed(step))
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        mixing = min(decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for slow, fast in zip(averaged.state_dict().values(), module.state_dict().values(), strict=True):
                slow.lerp_(fast, 1 - mixing) if slow.is_floating_point() else slow.copy_(fast)
        seconds += time.perf_counter() - started
        if told:
            print(f"{name}: step {step} of {steps}, loss {value.item():.4f}, {seconds:.0f} s", flush=True)
        if time.perf_counter() - kept > 120:
            keep(step + 1)
            kept = time.perf_counter()
    keep(steps)
    return averaged.eval(), seconds


def _steps(name: str, begun: int, steps: int) -> Iterator[tuple[int, bool]]:
    for step in range(begun, steps):
        yield step, step % max(steps // 40, 1) == 0
