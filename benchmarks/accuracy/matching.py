"""Optimised sets of digits: objectives and canvases side by side, on the net they were made with and on others.

`python benchmarks/accuracy/matching.py` makes the sets of the digits recipes, trains students by `dc@1` (ConvNet-3 of
width 32, which the recipes match with, and narrow AlexNet and ResNet-18, which they never saw), and writes the
table beside this file; it can be stopped at any time and goes on where it was. `--ipc`, `--sets`, `--arms` say how much
of it is done; `--protocol glad@1 --students ...` adds the nets of GLaD, whose VGG-11 `dc@1` cannot train: at its rate
of 0.01 ten digits leave it at chance, at 0.003 it learns them. Widths, iterations and batches are scaled to two cores;
recipes `cifar10-*` have the published ones.
"""

import argparse
import dataclasses
import itertools
import json
import statistics
from pathlib import Path

from rich.console import Console

from potstill.core.files import write_json, write_text
from potstill.core.memory import keep_freed_memory
from potstill.data.digits import digits
from potstill.evaluation import PROTOCOLS
from potstill.evaluation.record import Evaluation
from potstill.methods.matching import Matching
from potstill.nets.spec import Net
from potstill.objectives.trajectory import TrajectoryMatching
from potstill.pipeline import distill_recipe, evaluate_set
from potstill.recipes import RECIPES
from potstill.report import table

HERE = Path(__file__).parent
RESULTS = HERE / "matching"
ARMS = (
    "digits-random",
    *(f"digits-{name}" for name in ("dc", "dsa", "dm", "mtt", "idm")),
    *(f"digits-{name}-{canvas}" for canvas in ("latents", "glad", "ld3m") for name in ("dc", "dm", "mtt")),
)
STUDENTS = (
    "convnet-3-instance-w32",
    "alexnet-w32",
    "resnet-18-small-instance-w16",
)
"""The first is the net that the sets are made with."""
USUAL = "dc@1"


def main() -> None:
    """Runs what is missing and writes the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--arms", nargs="+", default=ARMS, choices=RECIPES)
    options.add_argument("--ipc", type=int, nargs="+", default=[1, 10])
    options.add_argument("--sets", type=int, default=3)
    options.add_argument("--buffer", help="the experts' folder, instead of runs/buffer")
    options.add_argument("--students", nargs="+", default=STUDENTS)
    options.add_argument("--protocol", default=USUAL, choices=PROTOCOLS)
    options.add_argument("--work", type=Path, default=Path("runs/accuracy/matching"))
    chosen = options.parse_args()
    keep_freed_memory()
    real, console = digits(), Console()
    other = "" if chosen.protocol == USUAL else f"-{chosen.protocol}"
    for ipc, seed, arm in itertools.product(chosen.ipc, range(chosen.sets), chosen.arms):
        files = {
            name: RESULTS / "evaluations" / f"{arm}-seed{seed}{other}-{name}-ipc{ipc}.json"
            for name in chosen.students
        }
        missing = {name: file for name, file in files.items() if not file.exists()}
        if not missing:
            continue
        folder = chosen.work / arm / f"ipc{ipc}-seed{seed}"
        recipe = dataclasses.replace(RECIPES[arm](), seed=seed, images_per_class=ipc, witness=None)
        method = recipe.method
        if (
            chosen.buffer
            and isinstance(method, Matching)
            and isinstance(method.objective, TrajectoryMatching)
        ):
            objective = dataclasses.replace(method.objective, buffer=chosen.buffer)
            recipe = dataclasses.replace(recipe, method=dataclasses.replace(method, objective=objective))
        made = distill_recipe(recipe, folder, real=real)
        facts = {"arm": arm, "seed": seed, "ipc": ipc, "seconds": made.manifest.seconds}
        write_json(RESULTS / "sets" / f"{arm}-seed{seed}-ipc{ipc}.json", facts)
        for name, file in missing.items():
            done = evaluate_set(
                folder,
                real,
                protocol=PROTOCOLS[chosen.protocol],
                student=Net.parse(name),
                teacher=None,
                seeds=range(1),
            )
            done.save(file)
            console.print(f"{arm} seed {seed} ipc {ipc} {name}: {100 * done.mean:.1f}")
        write_text(HERE / "matching_cpu.md", written())


def written() -> str:
    """The page of saved results."""
    evaluations = [Evaluation.load(file) for file in sorted((RESULTS / "evaluations").glob("*.json"))]
    sets = [json.loads(file.read_text()) for file in sorted((RESULTS / "sets").glob("*.json"))]
    lines = ["| arm | images per class | sets | seconds a set |", "|---|--:|--:|--:|"]
    for arm, ipc in sorted({(one["arm"], one["ipc"]) for one in sets}):
        own = [one["seconds"] for one in sets if (one["arm"], one["ipc"]) == (arm, ipc)]
        lines.append(f"| {arm} | {ipc} | {len(own)} | {statistics.mean(own):.0f} |")
    parts = [
        "# Optimised sets of digits",
        "Made by `python benchmarks/accuracy/matching.py`; one student of each net a set. Scaled to two cores: nets of "
        "width 32 and batches of 64 real images a class while matching, 60 to 200 iterations, five steps of the chain, "
        "narrow students.",
        summary(evaluations),
        table(evaluations, baseline="digits-random"),
        "## What making a set took",
        "\n".join(lines),
    ]
    return "\n\n".join(parts) + "\n"


def summary(evaluations: list[Evaluation]) -> str:
    """Means over sets by objective and canvas: on the net matched with, and over the others."""
    lines = []
    for ipc in sorted({one.ipc for one in evaluations}):
        lines += [
            f"## By objective and canvas, {ipc} image{'s' * (ipc > 1)} per class",
            "",
            "Mean accuracy %: ConvNet-3 / mean of the unseen.",
            "",
            "| | pixels | latents | GAN codes (GLaD) | chain (LD3M) |",
            "|---|--:|--:|--:|--:|",
        ]
        for objective in ("dc", "dm", "mtt"):
            cells = []
            for ending in ("", "-latents", "-glad", "-ld3m"):
                own = [
                    one
                    for one in evaluations
                    if (one.name, one.ipc, one.protocol) == (f"digits-{objective}{ending}", ipc, USUAL)
                ]
                seen = [one.mean for one in own if one.student.startswith("ConvNet")]
                unseen = [one.mean for one in own if not one.student.startswith("ConvNet")]
                cells.append(f"{_percent(seen)} / {_percent(unseen)}")
            lines.append(f"| {objective.upper()} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _percent(accuracies: list[float]) -> str:
    return f"{100 * statistics.mean(accuracies):.1f}" if accuracies else "-"


if __name__ == "__main__":
    main()
