"""How much of a loss's gradient reaches the latents at the start of the diffusion chain, by its length and residual.

`python benchmarks/accuracy/gradient_reach.py` takes distribution matching of ten digits through K steps of the digits'
DiT and writes the norm of dL/dZ as a table and a figure beside this file. Norms are medians over draws of start images,
noise and net (`--draws`), each a mean over images.
"""

import argparse
import statistics
from datetime import date
from pathlib import Path

import torch

from potstill.canvas.chain import Chain, Residual
from potstill.core.files import write_text
from potstill.data.digits import digits
from potstill.data.real import RealData
from potstill.distilled import Slot
from potstill.objectives.distribution import DistributionMatching
from potstill.report.figures.style import FAINT, INK, legend, note, save, sheet, tones

HERE = Path(__file__).parent
STEPS = (2, 5, 10, 20, 35)
RESIDUALS: tuple[Residual, ...] = ("clean", "noisy", "none")


def norm(real: RealData, steps: int, residual: Residual, seed: int) -> float:
    """The mean norm of dL/dZ over ten images."""
    slots = [Slot(key, 0) for key in real.classes.keys]
    canvas = Chain(prior="digits/dit", steps=steps, scale=1.5, residual=residual)
    surface = canvas.prepare(real, slots, seed=seed, device="cpu")
    objective = DistributionMatching(net="convnet-3-instance-w32", batch=64)
    matcher = objective.prepare(real, images_per_class=1, size=32, seed=seed, device="cpu")
    matcher.begin(0)
    latents = surface.learned["latents"].value
    loss = matcher.loss(surface.images(slice(0, 10)), torch.arange(10), 0)
    (slope,) = torch.autograd.grad(loss, latents)
    return slope.flatten(1).norm(dim=1).mean().item()


def drawn(found: dict[Residual, dict[int, float]], draws: int) -> None:
    """The figure."""
    figure, axes = sheet("Gradient at the start of the chain, |dL/dZ|", 6.4, 3.8)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    key: list[tuple[object, str]] = []
    for (residual, norms), (tone, shape) in zip(found.items(), tones(len(found), "lines"), strict=True):
        (line,) = axes.plot(list(norms), list(norms.values()), color=tone, marker=shape)
        key.append((line, residual))
    axes.set_yscale("log")
    axes.set_xlabel("steps of the chain, K", color=INK)
    legend(axes, key)
    note(figure, f"Median over {draws} draws; distribution matching, ten digits, the digits' DiT.")
    save(figure, HERE / "gradient_reach")


def main() -> None:
    """Measures, draws and writes the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--draws", type=int, default=3)
    options.add_argument("--steps", type=int, nargs="+", default=STEPS)
    chosen = options.parse_args()
    real = digits()
    found: dict[Residual, dict[int, float]] = {}
    for residual in RESIDUALS:
        found[residual] = {
            steps: statistics.median(norm(real, steps, residual, seed) for seed in range(chosen.draws))
            for steps in chosen.steps
        }
        print(residual, found[residual])
    drawn(found, chosen.draws)
    head = "| K | " + " | ".join(RESIDUALS) + " |\n|--:|" + "--:|" * len(RESIDUALS)
    rows = [
        f"| {steps} | {' | '.join(f'{found[r][steps]:.3g}' for r in RESIDUALS)} |" for steps in chosen.steps
    ]
    lines = [
        "# How far the gradient reaches",
        f"Made by `python benchmarks/accuracy/gradient_reach.py` on {date.today()}: the norm of dL/dZ, median over "
        f"{chosen.draws} draws.",
        "\n".join([head, *rows]),
    ]
    write_text(HERE / "gradient_reach.md", "\n\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
