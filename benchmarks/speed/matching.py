"""What an iteration of matching costs: ours against plain loops as the public code has them, in turn, in one run.

`python benchmarks/speed/matching.py` times gradient, distribution and trajectory matching of digits at 1 and 10 images
per class, one image step an iteration, ConvNet-3 of width 32 and 64 real images a class, and prints seconds and ratios
with their range. Gradients and distributions go class by class in the plain way; trajectories know no classes, and
their plain way unrolls a net whose parameters are one long vector. Either way has a process of its own, ours with the
memory setting of the command line. `--width`, `--batch`, `--ipc` and `--rounds` change the size of the run, `--data`
takes other images (without trajectories): a loop over classes costs most where classes are many and batches small.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from potstill.buffers import make_buffer
from potstill.canvas.pixels import Pixels, PixelSurface
from potstill.core.memory import keep_freed_memory
from potstill.data import load
from potstill.data.real import RealData
from potstill.distilled import Slot
from potstill.nets.spec import Net, build
from potstill.objectives.batches import RealBatches
from potstill.objectives.distribution import DistributionMatching
from potstill.objectives.experts import Buffer, Experts
from potstill.objectives.gradient import GradientMatching
from potstill.objectives.trajectory import TrajectoryMatching

Step = Callable[[int], None]
NAMES, STEPS = ("DC", "DM", "MTT"), 10


@dataclass(frozen=True)
class Size:
    """How large an iteration is; without a `buffer` there are no trajectories."""

    data: str
    width: int
    batch: int
    buffer: str | None

    @property
    def net(self) -> str:
        """The net matched with."""
        return f"convnet-3-instance-w{self.width}"


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


def plain_trajectory(net: nn.Module, images: Tensor, labels: Tensor, buffer: Buffer, rate: Tensor) -> None:
    """Ten steps of a net that is one long vector, cut into its parameters again at each."""
    shapes = {name: value.shape for name, value in net.named_parameters()}

    def whole(values: Any) -> Tensor:
        return torch.cat([values[name].flatten() for name in shapes])

    start, target = (whole(values) for values in buffer.expert(0, 0, 1))
    moving = start.clone().requires_grad_()
    for _ in range(STEPS):
        parts = moving.split([shape.numel() for shape in shapes.values()])
        values = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        order = torch.randperm(len(images))
        logits = functional_call(net, values, (images[order],))
        loss = functional.cross_entropy(logits, labels[order])
        (slope,) = torch.autograd.grad(loss, moving, create_graph=True)
        moving = moving - rate * slope
    apart = functional.mse_loss(moving, target, reduction="sum") / (start - target).square().sum()
    apart.backward()


@cache
def plain(name: str, ipc: int, size: Size) -> Step:
    """An iteration of a plain loop."""
    real = load(size.data)
    surface, labels = start(real, ipc)
    batches = RealBatches.of(real, 32, "cpu")
    buffer = Buffer.load(Path(size.buffer)) if size.buffer else None
    rate = torch.tensor(0.01, requires_grad=True)

    def step(turn: int) -> None:
        net = build(Net.parse(size.net), len(real.classes), 32, torch.Generator().manual_seed(turn))
        images = surface.images(slice(0, len(labels)))
        if name == "DC":
            plain_gradient(net, images, labels, batches, size.batch)
        elif name == "DM":
            plain_distribution(net.requires_grad_(False), images, labels, batches, size.batch)
        elif buffer:
            plain_trajectory(net, images, labels, buffer, rate)

    return step


@cache
def ours(name: str, ipc: int, size: Size) -> Step:
    """An iteration of ours."""
    real = load(size.data)
    surface, labels = start(real, ipc)
    ready = {"images_per_class": ipc, "size": 32, "seed": 0, "device": "cpu"}
    objectives = {
        "DC": GradientMatching(net=size.net, batch=size.batch, outer=1),
        "DM": DistributionMatching(net=size.net, batch=size.batch, operations=()),
        "MTT": TrajectoryMatching(
            buffer=size.buffer or "", steps=STEPS, expert_epochs=1, max_start=1, operations=()
        ),
    }
    matcher = objectives[name].prepare(real, **ready)
    values = [one.value for one in (surface.learned | matcher.learned).values()]

    def step(turn: int) -> None:
        matcher.begin(turn)
        loss = matcher.loss(surface.images(slice(0, len(labels))), labels, 0)
        torch.autograd.grad(loss, values)

    return step


def start(real: RealData, ipc: int) -> tuple[PixelSurface, Tensor]:
    """Pixels of real images, 32 a side, and their labels."""
    slots = [Slot(key, index) for key in real.classes.keys for index in range(ipc)]
    labels = torch.arange(len(real.classes)).repeat_interleave(ipc)
    return Pixels(size=32).prepare(real, slots, seed=0, device="cpu"), labels


def seconds(way: Callable[[str, int, Size], Step], name: str, ipc: int, size: Size, turn: int) -> float:
    """What an iteration takes on the clock, made ready before."""
    step = way(name, ipc, size)
    started = time.perf_counter()
    step(turn)
    return time.perf_counter() - started


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
    spawn = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(1, spawn) as slow,
        ProcessPoolExecutor(1, spawn, keep_freed_memory) as fast,
    ):
        buffer = Path(folder) / "buffer" if chosen.data == "digits" else None
        size = Size(chosen.data, chosen.width, chosen.batch, str(buffer) if buffer else None)
        if buffer:
            make_buffer(real, buffer, Experts(net=size.net, count=1, epochs=1))
        for ipc in chosen.ipc:
            for name in NAMES if buffer else NAMES[:-1]:
                times = [
                    tuple(
                        process.submit(seconds, way, name, ipc, size, turn).result()
                        for process, way in ((slow, plain), (fast, ours))
                    )
                    for turn in range(chosen.rounds + 1)
                ][1:]
                ratios = [one / other for one, other in times]
                middle = [f"{statistics.median(column):.3f}" for column in zip(*times, strict=True)]
                spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
                shown.add_row(name, str(ipc), *middle, f"{statistics.median(ratios):.2f}", spread)
    Console(width=120).print(shown)


if __name__ == "__main__":
    main()
