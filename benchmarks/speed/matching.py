"""What an iteration of matching costs: ours against a loop over classes as the public code has it, in one run.

`python benchmarks/speed/matching.py` times gradient and distribution matching of digits at 1 and 10 images per class,
one image step an iteration, ConvNet-3 of width 32 and 64 real images a class, and prints seconds and ratios with their
range; trajectory matching, which has no loop over classes, is given in both of its forms. `--width`, `--batch`,
`--ipc` and `--rounds` change the size of the run, `--data` takes other images (without trajectories): a loop over
classes costs most where classes are many and batches small.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from potstill.buffers import make_buffer
from potstill.canvas.pixels import Pixels, PixelSurface
from potstill.data import load
from potstill.data.real import RealData
from potstill.distilled import Slot
from potstill.nets.spec import Net, build
from potstill.objectives import Matcher
from potstill.objectives.batches import RealBatches
from potstill.objectives.distribution import DistributionMatching
from potstill.objectives.experts import Experts
from potstill.objectives.gradient import GradientMatching
from potstill.objectives.trajectory import TrajectoryMatching

Step = Callable[[int], None]


def plain_gradient(net: nn.Module, images: Tensor, labels: Tensor, real: RealBatches, count: int) -> None:
    """A loop over classes, a loop over layers, and gradients left behind in the net."""
    weights, loss = list(net.parameters()), torch.zeros(())
    for label in range(len(real.rows)):
        drawn = real.draw(label, count, torch.Generator().manual_seed(label))
        target = torch.full((len(drawn),), label)
        wanted = torch.autograd.grad(functional.cross_entropy(net(drawn), target), weights)
        own, target = images[labels == label], labels[labels == label]
        found = torch.autograd.grad(functional.cross_entropy(net(own), target), weights, create_graph=True)
        for one, other in zip(wanted, found, strict=True):
            if one.ndim > 1:
                a, b = one.detach().flatten(1), other.flatten(1)
                loss = loss + (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum()
    loss.backward()


def plain_distribution(net: nn.Module, images: Tensor, labels: Tensor, real: RealBatches, count: int) -> None:
    """Two passes a class."""
    loss = torch.zeros(())
    embed = getattr(net, "embed")  # noqa: B009
    for label in range(len(real.rows)):
        drawn = real.draw(label, count, torch.Generator().manual_seed(label))
        loss = loss + (embed(drawn).mean(0) - embed(images[labels == label]).mean(0)).square().sum()
    loss.backward()


def plain(work: Callable[..., None], real: RealData, ipc: int, width: int, count: int) -> Step:
    """An iteration of a plain loop."""
    surface = start(real, ipc)
    labels = torch.arange(len(real.classes)).repeat_interleave(ipc)
    batches = RealBatches.of(real, 32, "cpu")

    def step(turn: int) -> None:
        net = build(
            Net.parse(f"convnet-3-instance-w{width}"),
            len(real.classes),
            32,
            torch.Generator().manual_seed(turn),
        )
        if work is plain_distribution:
            net.requires_grad_(False)
        work(net, surface.images(slice(0, len(labels))), labels, batches, count)

    return step


def ours(matcher: Matcher, real: RealData, ipc: int) -> Step:
    """An iteration of ours."""
    surface = start(real, ipc)
    labels = torch.arange(len(real.classes)).repeat_interleave(ipc)
    values = [one.value for one in surface.learned.values()]

    def step(turn: int) -> None:
        matcher.begin(turn)
        loss = matcher.loss(surface.images(slice(0, len(labels))), labels, 0)
        torch.autograd.grad(loss, values)

    return step


def start(real: RealData, ipc: int) -> PixelSurface:
    """Pixels of real images, 32 a side."""
    slots = [Slot(key, index) for key in real.classes.keys for index in range(ipc)]
    return Pixels(size=32).prepare(real, slots, seed=0, device="cpu")


def arms(
    real: RealData, ipc: int, width: int, count: int, buffer: str | None
) -> dict[str, tuple[Step, Step]]:
    """What is compared: a name, the slower way and ours; trajectories where there is a buffer."""
    net = f"convnet-3-instance-w{width}"
    ready = {"images_per_class": ipc, "size": 32, "seed": 0, "device": "cpu"}
    gradient = GradientMatching(net=net, batch=count, outer=1).prepare(real, **ready)
    distribution = DistributionMatching(net=net, batch=count, operations=()).prepare(real, **ready)
    compared = {
        "DC": (plain(plain_gradient, real, ipc, width, count), ours(gradient, real, ipc)),
        "DM": (plain(plain_distribution, real, ipc, width, count), ours(distribution, real, ipc)),
    }
    if buffer is None:
        return compared
    trajectory = [
        TrajectoryMatching(buffer=buffer, steps=10, expert_epochs=1, max_start=1, unroll=unroll).prepare(
            real, **ready
        )
        for unroll in ("full", "constant")
    ]
    full, constant = (ours(one, real, ipc) for one in trajectory)
    return compared | {"MTT, full against constant memory": (full, constant)}


def main() -> None:
    """Times every arm in turn and prints the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--width", type=int, default=32)
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--data", default="digits")
    options.add_argument("--ipc", type=int, nargs="+", default=[1, 10])
    chosen = options.parse_args()
    real = load(chosen.data)
    title = f"{real.name}, {len(real.classes)} classes, width {chosen.width}, {chosen.batch} real images a class, "
    title += f"{chosen.rounds} rounds, {torch.get_num_threads()} threads, torch {torch.__version__}"
    shown = Table(
        "", "images per class", "plain: s", "ours: s", "ratio (median)", "lowest to highest", title=title
    )
    with tempfile.TemporaryDirectory() as folder:
        experts = Experts(net=f"convnet-3-instance-w{chosen.width}", count=1, epochs=1)
        buffer = str(Path(folder) / "buffer") if chosen.data == "digits" else None
        if buffer:
            make_buffer(real, Path(buffer), experts)
        for ipc in chosen.ipc:
            pairs = arms(real, ipc, chosen.width, chosen.batch, buffer)
            for name, pair in pairs.items():
                times = [[timed(partial(step, turn)) for step in pair] for turn in range(chosen.rounds + 1)]
                ratios = [slow / fast for slow, fast in times[1:]]
                slow, fast = (statistics.median(column) for column in zip(*times[1:], strict=True))
                spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
                cells = [name, str(ipc), f"{slow:.3f}", f"{fast:.3f}", f"{statistics.median(ratios):.2f}"]
                shown.add_row(*cells, spread)
    Console(width=120).print(shown)


def timed(work: Callable[[], None]) -> float:
    """Seconds on the clock."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
