"""Chooses the weight of informing on digits, on a validation split carved from the training images.

`python benchmarks/accuracy/tune_digits.py` tries paces on two sets each, three narrow students a set (ConvNet-3 of
width 32, 100 epochs), tests them on 800 training digits kept aside, and writes the table beside this file. The
test split is not read.
"""

import dataclasses
import itertools
from pathlib import Path

import torch
from rich.console import Console

from potstill.core.files import write_text
from potstill.core.seeds import generator
from potstill.data.digits import digits
from potstill.data.real import RealData
from potstill.evaluation import PROTOCOLS
from potstill.guidance.push import Pace
from potstill.methods.guided import Guided
from potstill.nets.spec import Net
from potstill.pipeline import distill_recipe, evaluate_set
from potstill.recipes import RECIPES, Recipe
from potstill.recipes.digits import INFORMING
from potstill.report import table

WORK = Path("runs/tune/digits")
PACES = {
    "none": None,
    "0.03": Pace(weight=0.03, normalise=True),
    "0.1": Pace(weight=0.1, normalise=True),
    "0.1 until 0.2": Pace(weight=0.1, normalise=True, until=0.2, check=2),
    "0.1 until 0.5": Pace(weight=0.1, normalise=True, until=0.5, check=2),
}


def validation() -> RealData:
    """Digits whose test split is 80 training images of each class, drawn by class; the rest stay for training."""
    real = digits()
    kept = torch.cat(
        [
            rows[torch.randperm(len(rows), generator=generator("validation", label))[:80]]
            for label in range(10)
            for rows in [real.train.of_class(label)]
        ]
    )
    rest = [row for row in range(len(real.train)) if row not in set(kept.tolist())]
    return dataclasses.replace(
        real, name="digits, validation", train=real.train.take(rest), test=real.train.take(kept)
    )


def recipe(scale: float, name: str) -> Recipe:
    """A DiT recipe with a guidance scale and a pace."""
    pace = PACES[name]
    terms = () if pace is None else (dataclasses.replace(INFORMING, pace=pace),)
    method = Guided(prior="digits/dit", scale=scale, terms=terms)
    return dataclasses.replace(
        RECIPES["digits-dit"](), name=f"scale {scale:g}, informing {name}", method=method
    )


def main() -> None:
    """Tries every pace and writes the table."""
    console, real, done = Console(), validation(), []
    for seed, scale, name in itertools.product((100, 101), (1.0, 1.5), PACES):
        chosen = dataclasses.replace(recipe(scale, name), seed=seed)
        folder = WORK / f"{scale:g}-{name.replace(' ', '-')}-seed{seed}"
        distill_recipe(chosen, folder, real=real)
        one = evaluate_set(
            folder,
            real,
            protocol=PROTOCOLS["rded@1"],
            student=Net.parse("convnet-3-w32"),
            teacher="digits/teacher",
            seeds=range(3),
            epochs=100,
        )
        console.print(f"{chosen.name}, seed {seed}: {100 * one.mean:.1f}")
        done.append(one)
    head = "# Paces of informing on digits, on validation images"
    made = "Made by `python benchmarks/accuracy/tune_digits.py`."
    text = "\n\n".join([head, made, table(done, baseline="scale 1, informing none")])
    write_text(Path(__file__).with_name("tune_digits.md"), text + "\n")


if __name__ == "__main__":
    main()
