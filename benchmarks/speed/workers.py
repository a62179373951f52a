"""What Ray's workers gain and cost: a set of digits made in this process and by 1 and 2 workers, in one run.

`python benchmarks/speed/workers.py` makes the same uninformed DiT digits three ways, checks that they are the same
bits, and prints seconds on the clock with the start of Ray and its workers, and images a second once every worker has
done a shard. Every worker computes on one thread, and so does this process. `--ipc`, `--steps` and `--batch` change the
size of the run.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from potstill.core.progress import Step
from potstill.data.digits import digits
from potstill.recipes import RECIPES
from potstill.run import distill
from potstill.run.local import Executor, InProcess
from potstill.run.on_ray import OnRay

ARMS: dict[str, Executor] = {
    "this process": InProcess(),
    "Ray, 1 worker": OnRay(workers=1),
    "Ray, 2 workers": OnRay(workers=2),
}


def main() -> None:
    """Times every arm once and prints the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--ipc", type=int, default=6)
    options.add_argument("--steps", type=int, default=20)
    options.add_argument("--batch", type=int, default=5)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    real, method = digits(), replace(RECIPES["digits-dit-unguided"]().method, steps=chosen.steps)
    title = (
        f"{10 * chosen.ipc} images, {chosen.steps} steps, shards of {chosen.batch}, torch {torch.__version__}"
    )
    shown = Table("", "seconds, with the start", "images/s, without", title=title)
    hashes = set()
    for name, on in ARMS.items():
        marks: list[float] = []

        def mark(step: Step, marks: list[float] = marks) -> None:
            if step.stage == "distill":
                marks.append(time.perf_counter())

        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            made = distill(
                method,
                real,
                Path(folder) / "set",
                name="t",
                images_per_class=chosen.ipc,
                batch=chosen.batch,
                on=on,
                on_step=mark,
            )
            whole = time.perf_counter() - began
        hashes.add(tuple(record.sha256 for record in made.records))
        first = on.workers or 1 if isinstance(on, OnRay) else 1
        rate = (len(marks) - first) * chosen.batch / (marks[-1] - marks[first - 1])
        shown.add_row(name, f"{whole:.1f}", f"{rate:.2f}")
    Console(width=120).print(shown)
    Console().print("the same bits" if len(hashes) == 1 else "NOT the same bits")


if __name__ == "__main__":
    main()
