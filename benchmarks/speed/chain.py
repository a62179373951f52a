"""What a gradient through the diffusion chain costs, with and without computing each denoiser call again.

`python benchmarks/speed/chain.py` takes the gradient of ten digits' pixels through K steps of the digits' DiT and
prints seconds, the most memory that tensors held at a time beyond the model, and the largest difference between the
two gradients, relative to the gradient's largest value. `--steps` names other K. Memory is counted from PyTorch's own
record of what its allocator gave and took back, so that it does not depend on what the process keeps for later.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from potstill.canvas.chain import Chain
from potstill.core.memory import keep_freed_memory
from potstill.core.seeds import generator
from potstill.data.digits import digits
from potstill.data.real import RealData
from potstill.distilled import Slot

STEPS = (5, 10, 20, 40)

Slopes = Sequence[Tensor]


def gradient(real: RealData, steps: int, remember: bool) -> Callable[[], Slopes]:
    """The gradient of a weighted sum of ten images' pixels, to be taken."""
    slots = [Slot(key, 0) for key in real.classes.keys]
    canvas = Chain(prior="digits/dit", steps=steps, scale=1.5, remember=remember)
    surface = canvas.prepare(real, slots, seed=0, device="cpu")
    values = [one.value for one in surface.learned.values()]
    weights = torch.randn(len(slots), 3, 32, 32, generator=generator("weights"))
    return lambda: torch.autograd.grad((surface.images(slice(0, 10)) * weights).sum(), values)


def timed(work: Callable[[], Slopes]) -> tuple[float, Slopes]:
    """Seconds on the clock, and the gradient."""
    started = time.perf_counter()
    slopes = work()
    return time.perf_counter() - started, slopes


def most_held(work: Callable[[], Slopes]) -> float:
    """The most memory in MiB that the tensors of some work hold at a time."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    record = seen.profiler.kineto_results.events()  # pyright: ignore[reportOptionalMemberAccess]
    held = most = 0
    for event in sorted((one for one in record if one.name() == "[memory]"), key=lambda one: one.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most / 2**20


def main() -> None:
    """Prints the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, nargs="+", default=STEPS)
    keep_freed_memory()
    real = digits()
    shown = Table("K", "kept: s", "kept: MiB", "again: s", "again: MiB", "gradients differ by")
    for steps in options.parse_args().steps:
        arms = [gradient(real, steps, remember) for remember in (True, False)]
        (slow, kept), (quick, again) = (timed(arm) for arm in arms)
        differ = max(((a - b).abs().max() / a.abs().max()).item() for a, b in zip(kept, again, strict=True))
        memory = [f"{most_held(arm):.1f}" for arm in arms]
        shown.add_row(str(steps), f"{slow:.2f}", memory[0], f"{quick:.2f}", memory[1], f"{differ:.1e}")
    Console(width=100).print(shown)


if __name__ == "__main__":
    main()
