"""How much of a loss's gradient reaches the latents at the start of the diffusion chain, by its length and residual.

`python benchmarks/accuracy/gradient_reach.py` takes distribution matching of ten digits through K steps of the digits'
DiT and writes the norm of dL/dZ as a table and a figure beside this file, and for one K that of dL/dx_t at every state
on the way. Norms are medians over draws of start images, noise and net (`--draws`), each a mean over images.
"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import torch
from torch import Tensor

from potstill.canvas.chain import Chain, Residual, timesteps
from potstill.core.files import write_text
from potstill.data.digits import digits
from potstill.data.real import RealData
from potstill.distilled import Slot
from potstill.objectives.distribution import DistributionMatching
from potstill.priors import Condition, Prior
from potstill.report.figures.style import FAINT, INK, legend, note, save, sheet, tones

HERE = Path(__file__).parent
STEPS = (2, 5, 10, 20, 35)
ALONG = 10
"""The length whose states are shown one by one."""
RESIDUALS: tuple[Residual, ...] = ("clean", "noisy", "none")


def norms(real: RealData, steps: int, residual: Residual, seed: int) -> list[float]:
    """The mean norm over ten images of dL/dZ, then of dL/dx_t at every state x_t, first to last."""
    slots = [Slot(key, 0) for key in real.classes.keys]
    canvas = Chain(prior="digits/dit", steps=steps, scale=1.5, residual=residual, remember=True)
    surface = canvas.prepare(real, slots, seed=seed, device="cpu")
    objective = DistributionMatching(net="convnet-3-instance-w32", batch=64)
    matcher = objective.prepare(real, images_per_class=1, size=32, seed=seed, device="cpu")
    matcher.begin(0)
    states, see = [], surface.prior.denoise

    def noted(x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        if not states or x_t is not states[-1]:
            states.append(x_t)
        return see(x_t, t, condition)

    surface.prior.denoise = noted
    loss = matcher.loss(surface.images(slice(0, 10)), torch.arange(10), 0)
    slopes = torch.autograd.grad(loss, [surface.learned["latents"].value, *states])
    assert len(states) == steps
    return [slope.flatten(1).norm(dim=1).mean().item() for slope in slopes]


def middle(real: RealData, steps: int, residual: Residual, draws: int) -> list[float]:
    """The medians over draws."""
    found = [norms(real, steps, residual, seed) for seed in range(draws)]
    return [statistics.median(column) for column in zip(*found, strict=True)]


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
    reached = {
        residual: {steps: middle(real, steps, residual, chosen.draws) for steps in chosen.steps}
        for residual in RESIDUALS
    }
    first = {one: {steps: way[0] for steps, way in ways.items()} for one, ways in reached.items()}
    drawn(first, chosen.draws)
    shown = {one: ways[ALONG][1:] for one, ways in reached.items() if ALONG in ways}
    parts = [
        "# How far the gradient reaches",
        f"Made by `python benchmarks/accuracy/gradient_reach.py` on {date.today()}: the norm of dL/dZ, median over "
        f"{chosen.draws} draws.",
        lines("K", {steps: [first[one][steps] for one in RESIDUALS] for steps in chosen.steps}),
    ]
    if shown:
        along = {place + 1: [way[place] for way in shown.values()] for place in range(ALONG)}
        last = timesteps(ALONG, 1000)[-1]
        share = Prior.from_pretrained("digits/dit").alpha_bar(last) ** 0.5
        parts += [
            f"The same at every state on the way for K = {ALONG}, from the first, noisiest state to the last: dL/dx_t, "
            "all that follows from a state included.",
            lines("state", along),
            f"Z enters the first state with the factor {share:.3f} (the square root of alpha_bar at timestep {last}). "
            "Without the residual that factor, and not the chain, is what lets the gradient at Z vanish: at the states "
            "it is alive.",
        ]
    write_text(HERE / "gradient_reach.md", "\n\n".join(parts) + "\n")


def lines(what: str, rows: Mapping[int, Sequence[float]]) -> str:
    """A table with a column a residual."""
    head = f"| {what} | " + " | ".join(RESIDUALS) + " |\n|--:|" + "--:|" * len(RESIDUALS)
    return "\n".join(
        [head, *(f"| {name} | {' | '.join(f'{one:.3g}' for one in row)} |" for name, row in rows.items())]
    )


if __name__ == "__main__":
    main()
