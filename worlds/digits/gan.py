"""The style-modulated generator: trained against a discriminator, kept where the teacher can read what it draws.

`python -m worlds.digits.gan --steps 3000 --work build/worlds/digits`; started again it goes on, also with more steps.
"""

import argparse
import copy
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from potstill.core.seeds import generator
from potstill.data.digits import digits
from potstill.nets.store import load_net
from potstill.priors.generator import load_generator
from potstill.priors.style_gan import GROUP, StyleNet, StyleSpec, build, save_style_gan
from worlds.digits.augment import train_pixels, vary
from worlds.digits.autoencoder import BUNDLED
from worlds.digits.measure import PER_CLASS, grid, spread
from worlds.digits.store import swap_in, write_metrics
from worlds.digits.training import BUILD

STEPS, BATCH, RATE, WARM_UP, DECAY = 3000, 32, 5e-4, 50, 0.995
PENALTY, LAZY = 1.0, 8
ENOUGH = 0.85


@dataclass
class Game:
    """All that a step leaves behind."""

    net: StyleNet
    judge: nn.Module
    averaged: StyleNet = field(init=False)
    optimisers: tuple[torch.optim.Adam, torch.optim.Adam] = field(init=False)
    step: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        for part in (self.net, self.judge):
            part.to(memory_format=torch.channels_last)
        self.averaged = copy.deepcopy(self.net).requires_grad_(False)
        drawing, judging = (
            torch.optim.Adam(part.parameters(), RATE, betas=(0.0, 0.99)) for part in (self.net, self.judge)
        )
        self.optimisers = (drawing, judging)

    def parts(self) -> dict[str, Any]:
        return {
            "net": self.net,
            "judge": self.judge,
            "averaged": self.averaged,
            "drawing": self.optimisers[0],
            "judging": self.optimisers[1],
        }

    def keep(self, file: Path) -> None:
        state = {name: part.state_dict() for name, part in self.parts().items()}
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}.partial")
        torch.save(state | {"step": self.step, "seconds": self.seconds}, partial)
        partial.replace(file)

    def go_on(self, file: Path) -> None:
        state = torch.load(file, weights_only=True)
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
        self.step, self.seconds = state["step"], state["seconds"]


def judging(game: Game, real: Tensor, rows: Tensor, z: Tensor, lazy: bool) -> Tensor:
    """The discriminator's logistic loss, and every eighth step eight times R1 (Mescheder et al. 2018, eq. 9)."""
    real = real.requires_grad_(lazy)
    with torch.no_grad():
        drawn = game.net(z, rows)
    told, faked = game.judge(torch.cat([real, drawn]), rows.repeat(2)).chunk(2)
    loss = F.softplus(-told).mean() + F.softplus(faked).mean()
    if not lazy:
        return loss
    (slope,) = torch.autograd.grad(told.sum(), real, create_graph=True)
    return loss + LAZY * PENALTY / 2 * slope.square().sum((1, 2, 3)).mean()


def drawing(game: Game, rows: Tensor, z: Tensor) -> Tensor:
    """The generator's non-saturating loss (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-game.judge(game.net(z, rows), rows)).mean()


def grouped(labels: Tensor, draw: torch.Generator) -> Tensor:
    """Rows of a batch: `GROUP` of one class after the other, the classes as they are among all."""
    classes = labels[torch.randint(len(labels), (BATCH // GROUP,), generator=draw)]
    return torch.cat(
        [
            own[torch.randint(len(own), (GROUP,), generator=draw)]
            for own in (torch.nonzero(labels == label).flatten() for label in classes)
        ]
    )


def move(game: Game, pixels: Tensor, labels: Tensor, share: float) -> tuple[float, float]:
    """One step of both, drawn from the step's own generator; their losses."""
    draw = torch.Generator().manual_seed(game.step)
    for optimiser in game.optimisers:
        for group in optimiser.param_groups:
            group["lr"] = RATE * share
    told = []
    for turn in (1, 0):
        rows = grouped(labels, draw)
        z = torch.randn(BATCH, game.net.spec.z, generator=draw)
        if turn:
            real = vary(pixels[rows], draw) * 2 - 1
            loss = judging(game, real, labels[rows], z, game.step % LAZY == 0)
        else:
            loss = drawing(game, labels[rows], z)
        moved = (game.net, game.judge)[turn]
        slopes = torch.autograd.grad(loss, list(moved.parameters()))
        for parameter, slope in zip(moved.parameters(), slopes, strict=True):
            parameter.grad = slope
        game.optimisers[turn].step()
        told.append(loss.item())
    mixing = min(DECAY, (1 + game.step) / (10 + game.step))
    with torch.no_grad():
        for slow, fast in zip(game.averaged.parameters(), game.net.parameters(), strict=True):
            slow.lerp_(fast, 1 - mixing)
    game.step += 1
    return told[0], told[1]


def train(game: Game, file: Path, steps: int) -> None:
    """Goes on to `steps`, at full rate for half of them and then down to 0 by a cosine."""
    if file.exists():
        game.go_on(file)
    pixels, labels = train_pixels()
    kept = time.perf_counter()
    while game.step < steps:
        started = time.perf_counter()
        late = max(2 * game.step / steps - 1, 0.0)
        share = min((game.step + 1) / WARM_UP, 1) * 0.5 * (1 + math.cos(math.pi * late))
        losses = move(game, pixels, labels, share)
        game.seconds += time.perf_counter() - started
        if game.step % max(steps // 40, 1) == 0:
            told = ", ".join(f"{loss:.3f}" for loss in losses)
            print(f"gan: step {game.step} of {steps}, losses {told}, {game.seconds:.0f} s", flush=True)
        if time.perf_counter() - kept > 60:
            game.keep(file)
            kept = time.perf_counter()
    game.keep(file)


@torch.no_grad()
def measured(folder: Path, picture: Path) -> dict[str, float]:
    """What the teacher makes of 1,000 drawn digits, and how much those of one class vary."""
    drawn, teacher = load_generator(str(folder)), load_net(BUNDLED / "teacher").module
    labels = torch.arange(10).repeat_interleave(PER_CLASS)
    draws = [generator(0, "measure", label, place) for place, label in enumerate(labels.tolist())]
    ws = drawn.codes(labels.tolist(), draws)
    images = drawn.images(ws, drawn.features(ws, 0), 0).clamp(0, 1)
    grid(images, labels, picture)
    judge: Any = teacher
    chances, features = judge(images).softmax(1), judge.embed(images)
    return {
        "measured_images": len(labels),
        "teacher_accuracy": (chances.argmax(1) == labels).float().mean().item(),
        "teacher_confidence": chances[torch.arange(len(labels)), labels].mean().item(),
        "spread": spread(features, labels),
    }


def main(work: Path, steps: int) -> None:
    spec = StyleSpec(classes=digits().classes)
    game = Game(*build(spec, generator(0, "gan")))
    train(game, work / "gan.ckpt", steps)
    save_style_gan(work / "model", game.averaged)
    numbers = measured(work / "model", work / "gan.png")
    print(numbers, flush=True)
    if numbers["teacher_accuracy"] < ENOUGH:
        print(
            f"not kept: the teacher names fewer than {ENOUGH:.0%} rightly; go on with more --steps",
            flush=True,
        )
        return
    swap_in("gan", lambda fresh: save_style_gan(fresh, game.averaged))
    parameters = sum(weight.numel() for weight in game.averaged.parameters())
    told = {"seconds": game.seconds, "steps": game.step, "parameters": parameters}
    write_metrics("gan", told | numbers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=BUILD)
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args()
    main(given.work, given.steps)
