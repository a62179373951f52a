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
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from potstill.core.files import write_json, write_text
from potstill.core.memory import keep_freed_memory
from potstill.data.digits import digits
from potstill.evaluation import PROTOCOLS
from potstill.evaluation.record import Evaluation, Run
from potstill.evaluation.statistics import Difference, holm, paired
from potstill.methods.matching import Matching
from potstill.nets.spec import Net
from potstill.objectives.trajectory import TrajectoryMatching
from potstill.pipeline import distill_recipe, evaluate_set
from potstill.recipes import RECIPES
from potstill.recipes.recipe import Recipe
from potstill.report import table

HERE = Path(__file__).parent
RESULTS = HERE / "matching"
ARMS = (
    "digits-random",
    *(f"digits-{name}" for name in ("dc", "dsa", "dm", "mtt", "idm")),
    *(f"digits-{name}-{canvas}" for canvas in ("latents", "glad", "ld3m") for name in ("dc", "dm", "mtt")),
)
TRAINED = {
    "digits-dm-ld3m": {},
    "digits-dm-ld3m-other": {"prior": "runs/other-dit"},
    "digits-dm-ld3m-untrained": {"pretrained": False},
}
"""LD3M, figure 3: a denoiser of digits, one of other images (`python -m worlds.digits.other_dit`), an untrained one."""
STUDENTS = (
    "convnet-3-instance-w32",
    "alexnet-w32",
    "resnet-18-small-instance-w16",
)
"""The first is the net that the sets are made with."""
MORE = {("alexnet-w32", 10): 3}
"""Students a set, where one is too few: at ten images per class an AlexNet learns or stays near chance by its seed."""
MADE_WITH = Net.parse(STUDENTS[0]).label
OBJECTIVES = ("dc", "dm", "mtt")
CANVASES = {
    "pixels": "",
    "latents": "-latents",
    "GAN codes (GLaD)": "-glad",
    "diffusion chain (LD3M)": "-ld3m",
}
"""What is learned, and how its arms' names end."""
USUAL = "dc@1"


def main() -> None:
    """Runs what is missing and writes the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--arms", nargs="+", default=ARMS, choices=[*RECIPES, *TRAINED])
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
        wanted = {name: MORE.get((name, ipc), 1) for name in chosen.students}
        missing = {name: file for name, file in files.items() if len(_runs(file)) < wanted[name]}
        if not missing:
            continue
        folder = chosen.work / arm / f"ipc{ipc}-seed{seed}"
        recipe = dataclasses.replace(recipe_of(arm, chosen.buffer), seed=seed, images_per_class=ipc)
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
                seeds=range(wanted[name]),
            )
            done.save(file)
            console.print(f"{arm} seed {seed} ipc {ipc} {name}: {100 * done.mean:.1f}")
        write_text(HERE / "matching_cpu.md", written())


def _runs(file: Path) -> tuple[Run, ...]:
    return Evaluation.load(file).runs if file.exists() else ()


def recipe_of(arm: str, buffer: str | None) -> Recipe:
    """The recipe of an arm, with another denoiser or other experts where asked."""
    recipe = RECIPES[next(iter(TRAINED)) if arm in TRAINED else arm]()
    method = recipe.method
    if isinstance(method, Matching):
        if arm in TRAINED:
            method = dataclasses.replace(method, canvas=dataclasses.replace(method.canvas, **TRAINED[arm]))
        if buffer and isinstance(method.objective, TrajectoryMatching):
            method = dataclasses.replace(
                method, objective=dataclasses.replace(method.objective, buffer=buffer)
            )
    return dataclasses.replace(recipe, name=arm, method=method, witness=None)


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
        "Made by `python benchmarks/accuracy/matching.py`. Scaled to two cores: nets of width 32 and batches of 64 "
        "real images a class while matching, 60 to 200 iterations, five steps of the chain, narrow students, as many "
        "a set as the tables say.",
        summary(evaluations),
        table(evaluations, baseline="digits-random"),
        "## What making a set took, on cores that did other work too",
        "\n".join(lines),
    ]
    return "\n\n".join(parts) + "\n"


def summary(evaluations: list[Evaluation]) -> str:
    """Means over sets by objective and canvas, on the net matched with and over the others, and LD3M's differences."""
    lines = []
    for ipc in sorted({one.ipc for one in evaluations}):
        reached = [one for one in evaluations if (one.ipc, one.protocol) == (ipc, USUAL)]
        lines += [
            f"## By objective and canvas, {ipc} image{'s' * (ipc > 1)} per class",
            "",
            "Mean accuracy %: ConvNet-3 / mean of the unseen.",
            "",
            f"| | {' | '.join(CANVASES)} |",
            "|---|--:|--:|--:|--:|",
        ]
        for objective in OBJECTIVES:
            arms = [f"digits-{objective}{ending}" for ending in CANVASES.values()]
            cells = [f"{_percent(seen(reached, arm))} / {_percent(unseen(reached, arm))}" for arm in arms]
            lines.append(f"| {objective.upper()} | {' | '.join(cells)} |")
        for more in (gaps(reached), training(reached)):
            lines += ["", *more] if more else []
        lines.append("")
    return "\n".join(lines)


def gaps(reached: Sequence[Evaluation]) -> list[str]:
    """LD3M minus each other canvas in points: means by objective, and over all three an interval over sets."""
    rows: dict[str, tuple[list[str], Difference]] = {}
    for canvas, ending in list(CANVASES.items())[:-1]:
        for nets, accuracies in (("the net matched with", seen), ("unseen nets", unseen)):
            pairs = []
            for objective in OBJECTIVES:
                ours, theirs = (accuracies(reached, f"digits-{objective}{one}") for one in ("-ld3m", ending))
                pairs.append({seed: ours[seed] - theirs[seed] for seed in ours.keys() & theirs.keys()})
            common = sorted(set.intersection(*(set(one) for one in pairs)))
            if len(common) < 2:
                continue
            by_set = [statistics.mean(one[seed] for one in pairs) for seed in common]
            means = [f"{100 * statistics.mean(one.values()):+.1f}" for one in pairs]
            rows[f"{canvas}, {nets}"] = means, paired(by_set, [0.0] * len(by_set))
    if not rows:
        return []
    corrected = holm([found.p or 0.0 for _, found in rows.values()])
    lines = [
        "LD3M minus what each row names, points; the last columns over all three objectives, paired by set: interval, "
        "sets, and p corrected by Holm for the rows.",
        "",
        "| LD3M minus | DC | DM | MTT | all three | sets | p (Holm) |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for (name, (means, found)), p in zip(rows.items(), corrected, strict=True):
        told = "{:+.1f} [{:+.1f}, {:+.1f}]".format(
            *(100 * (one or 0.0) for one in (found.mean, found.low, found.high))
        )
        lines.append(f"| {name} | {' | '.join(means)} | {told} | {found.n} | {p:.3f} |")
    return lines


def training(reached: Sequence[Evaluation]) -> list[str]:
    """What LD3M's sets train to by what the denoiser was trained on."""
    told = dict(zip(TRAINED, ("digits", "CIFAR-10", "nothing"), strict=True))
    rows = {
        name: (f"{_percent(seen(reached, arm))} / {_percent(unseen(reached, arm))}", len(seen(reached, arm)))
        for arm, name in told.items()
    }
    rows = {name: (cell, sets) for name, (cell, sets) in rows.items() if sets}
    if len(rows) < 2:
        return []
    lines = [
        "LD3M with DM by what its denoiser was trained on: ConvNet-3 / mean of the unseen.",
        "",
        "| trained on | accuracy % | sets |",
        "|---|--:|--:|",
    ]
    return lines + [f"| {name} | {cell} | {sets} |" for name, (cell, sets) in rows.items()]


def seen(reached: Iterable[Evaluation], arm: str) -> dict[int, float]:
    """Accuracy on the net that sets are made with, by set seed."""
    return {one.set_seed: one.mean for one in reached if one.name == arm and one.student == MADE_WITH}


def unseen(reached: Iterable[Evaluation], arm: str) -> dict[int, float]:
    """Mean accuracy over the other nets, by set seed, of the sets that all of them have seen."""
    others = [one for one in reached if one.name == arm and one.student != MADE_WITH]
    nets = {Net.parse(name).label for name in STUDENTS[1:]}
    by_seed: dict[int, dict[str, float]] = {}
    for one in others:
        by_seed.setdefault(one.set_seed, {})[one.student] = one.mean
    return {seed: statistics.mean(found.values()) for seed, found in by_seed.items() if found.keys() == nets}


def _percent(accuracies: Mapping[int, float]) -> str:
    return f"{100 * statistics.mean(accuracies.values()):.1f}" if accuracies else "-"


if __name__ == "__main__":
    main()
