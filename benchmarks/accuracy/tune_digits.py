"""Chooses the weight of informing on digits, on a validation split carved from the training images.

`python benchmarks/accuracy/tune_digits.py` tries paces on `--sets` sets each, three narrow students a set (ConvNet-3 of
width 32) under each protocol and number of images, tests them on 800 training digits kept aside, and writes the table
beside this file. It can be stopped at any time and goes on where it was. The test split is not read.
"""

import argparse
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
from potstill.evaluation.record import Evaluation
from potstill.guidance.push import Pace
from potstill.methods.guided import Guided
from potstill.nets.spec import Net
from potstill.pipeline import distill_recipe, evaluate_set, evaluation_name
from potstill.recipes import RECIPES, Recipe
from potstill.recipes.digits import INFORMING
from potstill.report import table

WORK = Path("runs/tune/digits")
FIRST, STUDENTS = 100, 3
JUDGED = {("rded@1", 10): 100, ("rded@1", 1): None, ("hard@1", 10): 100}
"""Protocol and images per class, with the epochs that it is scaled down to."""

PRIORS = {
    "dit, scale 1": ("digits/dit", 1.0),
    "dit, scale 1.5": ("digits/dit", 1.5),
    "unclip": ("digits/unclip", 2.0),
}
PACES = {
    "none": None,
    "0.03": Pace(weight=0.03, normalise=True),
    "0.1": Pace(weight=0.1, normalise=True),
    "0.1 until 0.2": Pace(weight=0.1, normalise=True, until=0.2, check=2),
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


def recipe(prior: str, pace: str) -> Recipe:
    """A digits recipe of a prior and a pace."""
    terms = () if PACES[pace] is None else (dataclasses.replace(INFORMING, pace=PACES[pace]),)
    source, scale = PRIORS[prior]
    method = Guided(prior=source, scale=scale, terms=terms)
    return dataclasses.replace(RECIPES["digits-dit"](), name=f"{prior}, informing {pace}", method=method)


def main() -> None:
    """Tries every pace and writes the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sets", type=int, default=2)
    chosen = options.parse_args()
    console, real = Console(), validation()
    done: dict[tuple[str, int], list[Evaluation]] = {judged: [] for judged in JUDGED}
    seeds = range(FIRST, FIRST + chosen.sets)
    for seed, prior, pace in itertools.product(seeds, PRIORS, PACES):
        made = dataclasses.replace(recipe(prior, pace), seed=seed)
        folder = WORK / made.name.replace(", ", "-").replace(" ", "-") / f"seed{seed}"
        distill_recipe(made, folder, real=real)
        for (protocol, ipc), epochs in JUDGED.items():
            one = judged(folder, real, protocol, ipc, epochs)
            console.print(f"{made.name}, seed {seed}, {protocol}, ipc {ipc}: {100 * one.mean:.1f}")
            done[protocol, ipc].append(one)
        write_text(Path(__file__).with_name("tune_digits.md"), written(done))


def judged(folder: Path, real: RealData, protocol: str, ipc: int, epochs: int | None) -> Evaluation:
    """A set's evaluation, made or read."""
    chosen, student = PROTOCOLS[protocol], Net.parse("convnet-3-w32")
    scaled = chosen.scaled({"training.epochs": epochs}) if epochs else chosen
    kept = folder / "evaluations" / f"{evaluation_name(scaled, student, ipc)}.json"
    if kept.exists():
        return Evaluation.load(kept)
    return evaluate_set(
        folder,
        real,
        protocol=chosen,
        student=student,
        teacher="digits/teacher",
        seeds=range(STUDENTS),
        images_per_class=ipc,
        epochs=epochs,
    )


def written(done: dict[tuple[str, int], list[Evaluation]]) -> str:
    """The page of what is done so far."""
    parts = [
        "# Paces of informing on digits, on validation images",
        "Made by `python benchmarks/accuracy/tune_digits.py`; accuracies are of 800 training digits kept aside.",
    ]
    for (protocol, ipc), found in done.items():
        for prior in PRIORS:
            own = [_alike(one, protocol, ipc) for one in found if one.name.startswith(f"{prior},")]
            if own:
                baseline = f"{prior}, informing none"
                parts += [f"## {prior}, {protocol}, {ipc} per class", table(own, baseline=baseline)]
    return "\n\n".join(parts) + "\n"


def _alike(one: Evaluation, protocol: str, ipc: int) -> Evaluation:
    """The evaluation with its change of the protocol by the name that changes have today."""
    epochs = JUDGED[protocol, ipc]
    settings = {"training.epochs": epochs} if epochs else {}
    return dataclasses.replace(one, settings=settings, protocol=protocol + ("*" if settings else ""))


if __name__ == "__main__":
    main()
