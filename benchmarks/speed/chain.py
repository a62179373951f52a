"""What a gradient through the diffusion chain costs, with and without computing each denoiser call again.

`python benchmarks/speed/chain.py` takes the gradient of ten digits' pixels through K steps of the digits' DiT, each arm
in a process of its own, and prints seconds, the memory beyond the loaded model, and the largest difference between the
two gradients, relative to the gradient's largest value. `--steps` names other K.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from potstill.canvas.chain import Chain
from potstill.core.seeds import generator
from potstill.data.digits import digits
from potstill.distilled import Slot

STEPS = (5, 10, 20, 40)


def measured(steps: int, remember: bool, out: str) -> dict[str, float]:
    """Seconds of a gradient and the megabytes it added to this process; the gradient is saved in `out`."""
    real = digits()
    slots = [Slot(key, 0) for key in real.classes.keys]
    canvas = Chain(prior="digits/dit", steps=steps, scale=1.5, remember=remember)
    surface = canvas.prepare(real, slots, seed=0, device="cpu")
    values = [one.value for one in surface.learned.values()]
    weights = torch.randn(len(slots), 3, 32, 32, generator=generator("weights"))
    with torch.no_grad():
        surface.images(slice(0, 10))
    before, started = peak(), time.perf_counter()
    slopes = torch.autograd.grad((surface.images(slice(0, 10)) * weights).sum(), values)
    seconds = time.perf_counter() - started
    torch.save(list(slopes), out)
    return {"seconds": seconds, "memory": peak() - before}


def peak() -> float:
    """The most memory this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def apart(steps: int, remember: bool, out: str) -> dict[str, Any]:
    """The same in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, "--arm", str(steps), str(int(remember)), out]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(found.stdout.splitlines()[-1])


def main() -> None:
    """Prints the table, or one arm as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, nargs="+", default=STEPS)
    options.add_argument("--arm", nargs=3, help="steps, 1 to remember, a file for the gradient")
    chosen = options.parse_args()
    if chosen.arm:
        print(json.dumps(measured(int(chosen.arm[0]), chosen.arm[1] == "1", chosen.arm[2])))
        return
    shown = Table("K", "kept: s", "kept: MiB", "again: s", "again: MiB", "gradients differ by")
    for steps in chosen.steps:
        with tempfile.TemporaryDirectory() as folder:
            files = [f"{folder}/kept.pt", f"{folder}/again.pt"]
            kept, again = (apart(steps, flag, file) for flag, file in zip((True, False), files, strict=True))
            pairs = list(zip(*(torch.load(file) for file in files), strict=True))
        differ = max(((a - b).abs().max() / a.abs().max()).item() for a, b in pairs)
        cells = [f"{arm[name]:.{2 if name == 'seconds' else 0}f}" for arm in (kept, again) for name in arm]
        shown.add_row(str(steps), *cells, f"{differ:.1e}")
    Console(width=100).print(shown)


if __name__ == "__main__":
    main()
