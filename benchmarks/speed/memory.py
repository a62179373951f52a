"""What giving memory back to the system costs a training on a CPU: steps of a student with and without.

`python benchmarks/speed/memory.py` times steps of ConvNet-3 in processes of their own, in turn, one as it is and one
after `potstill.core.memory.keep_freed_memory`, and prints the ratio of their medians with its range over `--rounds`,
and both peaks of memory. Each process computes on one thread that is not its first, as students do. Nets with GroupNorm
are timed channels last too, which is not the order that potstill computes them in.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from threading import Thread

import torch
from rich.console import Console
from rich.table import Table

from potstill.core.memory import keep_freed_memory
from potstill.core.seeds import generator
from potstill.nets.spec import Net, build

PLAIN, LAST = "plain", "channels last"
ORDERS = {PLAIN: torch.contiguous_format, LAST: torch.channels_last}
ARMS = (
    ("convnet-3", LAST, 50),
    ("convnet-3", LAST, 256),
    ("convnet-3-instance", PLAIN, 256),
    ("convnet-3-instance", LAST, 256),
    ("convnet-3-instance-w32", PLAIN, 256),
    ("convnet-3-instance-w32", LAST, 256),
)
"""Nets, orders of memory and batches: `rded@1` takes 50, `dc@1` up to 256."""
STEPS = 7


def step_seconds(name: str, order: str, batch: int) -> float:
    """The median seconds of a forward and backward pass at 32 px."""
    torch.set_num_threads(1)
    module = build(Net.parse(name), 10, 32, generator(0)).to(memory_format=ORDERS[order]).train()
    images = torch.rand(batch, 3, 32, 32).contiguous(memory_format=ORDERS[order])
    spent = []
    for _ in range(STEPS):
        started = time.perf_counter()
        module.zero_grad()
        module(images).logsumexp(1).sum().backward()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent)


def measured(name: str, order: str, batch: int, keep: bool) -> dict[str, float]:
    """Seconds a step and the peak of memory in MiB, in this process."""
    if keep and not keep_freed_memory():
        raise SystemExit("this C library can't be told to keep memory")
    found: list[float] = []
    thread = Thread(target=lambda: found.append(step_seconds(name, order, batch)))
    thread.start()
    thread.join()
    return {"seconds": found[0], "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10}


def apart(name: str, order: str, batch: int, keep: bool) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, "--arm", name, order, str(batch), str(int(keep))]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    """Prints the table, or one arm as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--arm", nargs=4, help="net, order, batch, 1 to keep memory")
    chosen = options.parse_args()
    if chosen.arm:
        print(json.dumps(measured(*chosen.arm[:2], int(chosen.arm[2]), chosen.arm[3] == "1")))
        return
    shown = Table(
        "net", "order", "batch", "as it is: ms", "kept: ms", "ratio (median)", "lowest to highest", "MiB"
    )
    for name, order, batch in ARMS:
        rounds = [[apart(name, order, batch, keep) for keep in (False, True)] for _ in range(chosen.rounds)]
        plain, kept = (
            [1e3 * statistics.median(one["seconds"] for one in arm)] for arm in zip(*rounds, strict=True)
        )
        ratios = [a["seconds"] / b["seconds"] for a, b in rounds]
        memory = " / ".join(f"{max(one['memory'] for one in arm):.0f}" for arm in zip(*rounds, strict=True))
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        cells = [f"{plain[0]:.0f}", f"{kept[0]:.0f}", f"{statistics.median(ratios):.2f}", spread, memory]
        shown.add_row(name, order, str(batch), *cells)
    Console(width=120).print(shown)


if __name__ == "__main__":
    main()
