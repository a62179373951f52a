"""The evidence on digits: every arm of the paper, at 1 and 10 images per class, soft and hard labels, paired seeds.

`python benchmarks/accuracy/digits.py` makes the sets, trains the students, and writes the table beside this file; it
can be stopped at any time and goes on where it was; the Minimax arms need the fine-tuned prior that their recipes name
(`potstill show digits-minimax`). `--sets N` sets an arm (seeds 0 to N - 1), `--minutes N` stops before the next set
when the time is up, `--ipc 50` makes larger sets for narrow students; the table says how many there are.

Soft labels: ConvNet-3 of width 128, one student a set at 10 images per class and three at 1. Hard labels: three
students of width 32 a set by `dc@1`, one of width 128, one ResNet-18; `hard@1` is no use here, as its last CutMix
batches leave BatchNorm's statistics wherever they happen to be (students of one set spread over 25 points).
"""

import argparse
import dataclasses
import itertools
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from potstill.concepts import ConceptSpace, Vocabulary
from potstill.core.files import write_json, write_text
from potstill.core.memory import keep_freed_memory
from potstill.core.settings import to_plain
from potstill.data.digits import digits
from potstill.distilled import DistilledSet
from potstill.encoders import Encoder
from potstill.evaluation import PROTOCOLS
from potstill.evaluation.record import Evaluation
from potstill.evaluation.shown import shown
from potstill.nets.spec import Net
from potstill.nets.store import load_net
from potstill.pipeline import distill_recipe, evaluate_set
from potstill.recipes import RECIPES
from potstill.report import table

HERE = Path(__file__).parent
RESULTS = HERE / "digits"
ARMS = (
    "digits-random",
    "digits-dit-unguided",
    "digits-dit",
    "digits-dit-unguided-concord",
    "digits-dit-complete",
    "digits-dit-concord",
    "digits-unclip",
    "digits-unclip-concord",
    "digits-minimax",
    "digits-minimax-concord",
    "digits-k-center",
    "digits-herding",
    "digits-rded",
    "digits-sre2l",
    "digits-d4m",
)
FIXED = ("digits-k-center", "digits-herding")
"""Arms that choose the same images whatever the seed: one set says all."""

QUESTIONS = {
    "digits-dit-unguided": ("digits-dit-unguided-concord", "digits-dit-complete"),
    "digits-dit": (
        "digits-dit-concord",
        "digits-dit-unguided-concord",
        "digits-dit-complete",
        "digits-minimax",
        "digits-minimax-concord",
    ),
    "digits-unclip": ("digits-unclip-concord",),
    "digits-minimax": ("digits-minimax-concord",),
}
"""What is compared: a prior that is not informed, and the arms that are; random real images stand in every table."""
JUDGES = ("digits/clip", "digits/referee")
TEACHER = "digits/teacher"
CELLS = {
    ("rded@1", "convnet-3", 10): 1,
    ("rded@1", "convnet-3", 1): 3,
    ("dc@1", "convnet-3-instance-w32", 10): 3,
    ("dc@1", "convnet-3-instance-w32", 1): 3,
    ("dc@1", "convnet-3-instance-w32", 50): 1,
    ("dc@1", "convnet-3-instance", 10): 1,
    ("dc@1", "convnet-3-instance", 1): 1,
    ("dc@1", "resnet-18-small-instance-w16", 10): 1,
}
"""Protocol, student and images per class, with the students a set. ResNet-18 has a quarter of its width."""
USUAL = {"rded@1": "convnet-3", "dc@1": "convnet-3-instance-w32"}
"""The student of a protocol that file names leave out."""
SET = 10
"""Images per class of a set, of which smaller numbers take the first; larger ones have sets of their own."""


def main() -> None:
    """Runs what is missing and writes the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sets", type=int, default=5)
    options.add_argument("--minutes", type=float, default=float("inf"))
    options.add_argument("--work", type=Path, default=Path("runs/accuracy/digits"))
    options.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS)
    options.add_argument("--protocols", nargs="+", default=sorted({cell[0] for cell in CELLS}))
    options.add_argument("--students", nargs="+", default=sorted({cell[1] for cell in CELLS}))
    options.add_argument("--ipc", type=int, nargs="+", default=[1, SET])
    chosen = options.parse_args()
    keep_freed_memory()
    console, ends = Console(), time.monotonic() + 60 * chosen.minutes
    real = digits()
    teacher = load_net(TEACHER)
    encoders = {name: Encoder.from_pretrained(name) for name in JUDGES}
    judges = [
        (encoder, ConceptSpace.build(Vocabulary(bank="digits", encoder=name), encoder, real))
        for name, encoder in encoders.items()
    ]
    sizes = sorted({max(ipc, SET) for ipc in chosen.ipc})
    for size, seed, arm in itertools.product(sizes, range(chosen.sets), chosen.arms):
        cells = [
            cell
            for cell in CELLS
            if cell[0] in chosen.protocols
            and cell[1] in chosen.students
            and cell[2] in chosen.ipc
            and max(cell[2], SET) == size
        ]
        missing = [cell for cell in cells if not _file(arm, seed, cell).exists()]
        if not missing or (seed and arm in FIXED) or time.monotonic() > ends:
            continue
        folder = chosen.work / arm / (f"seed{seed}" if size == SET else f"seed{seed}-ipc{size}")
        recipe = dataclasses.replace(RECIPES[arm](), seed=seed, images_per_class=size)
        made = distill_recipe(recipe, folder, real=real)
        if size == SET:
            images, labels = made.images(), made.labels(real.classes.keys)
            seen = {
                judge: to_plain(shown(images, labels, encoder=encoder, space=space, teacher=teacher.module))
                for judge, (encoder, space) in zip(JUDGES, judges, strict=True)
            }
            facts = {
                "arm": arm,
                "seed": seed,
                "seconds_per_image": made.manifest.seconds_per_image,
                "judged": seen,
            }
            write_json(RESULTS / "sets" / f"{arm}-seed{seed}.json", facts)
        else:
            keep_spread(made, arm, seed, size)
        for protocol, student, ipc in missing:
            done = evaluate_set(
                folder,
                real,
                protocol=PROTOCOLS[protocol],
                student=Net.parse(student),
                teacher=TEACHER,
                seeds=range(CELLS[protocol, student, ipc]),
                images_per_class=ipc,
            )
            done.save(_file(arm, seed, (protocol, student, ipc)))
            console.print(f"{arm} seed {seed} {protocol} {student} ipc {ipc}: {100 * done.mean:.1f}")
    write_text(HERE / "digits_cpu.md", written())


def keep_spread(made: DistilledSet, arm: str, seed: int, size: int) -> None:
    """Saves the spread inside a larger set's classes as the witness saw it, and that of real images."""
    told = {
        name: statistics.mean(values.values())
        for name, values in (("spread", made.manifest.spread), ("real", made.manifest.real_spread))
    }
    write_json(
        RESULTS / "spread" / f"{arm}-seed{seed}-ipc{size}.json",
        {"arm": arm, "seed": seed, "ipc": size} | told,
    )


def _file(arm: str, seed: int, cell: tuple[str, str, int]) -> Path:
    protocol, student, ipc = cell
    other = "" if student == USUAL[protocol] else f"-{student}"
    return RESULTS / "evaluations" / f"{arm}-seed{seed}-{protocol}{other}-ipc{ipc}.json"


def written() -> str:
    """The page of saved results."""
    evaluations = [Evaluation.load(file) for file in sorted((RESULTS / "evaluations").glob("*.json"))]
    sets = [json.loads(file.read_text()) for file in sorted((RESULTS / "sets").glob("*.json"))]
    parts = ["# Digits, with and without concepts", "Made by `python benchmarks/accuracy/digits.py`."]
    for protocol, student, ipc in CELLS:
        known = protocol, Net.parse(student).label, ipc
        own = [one for one in evaluations if (one.protocol, one.student, one.ipc) == known]
        title = f"## {protocol}, {student}, {ipc} image{'s' * (ipc > 1)} per class"
        for baseline, informed in QUESTIONS.items():
            asked = [one for one in own if one.name in (baseline, *informed, "digits-random")]
            if len({one.name for one in asked} - {"digits-random"}) > 1:
                parts += [f"{title}: {baseline} and informed", table(asked, baseline=baseline)]
        if any(one.name == "digits-random" for one in own):
            parts += [f"{title}: all methods", table(own, baseline="digits-random")]
    for file in sorted((RESULTS / "full").glob("*.json")):
        one = Evaluation.load(file)
        parts += [
            f"## Full data\n\nAll 4,000 training digits, hard labels, {one.student}, 60 epochs in place of 301: "
            f"{100 * one.mean:.1f} % ({len(one.accuracies)} students). Made by `potstill distill --method random "
            "--ipc 400 --out runs/full` and `potstill evaluate runs/full --protocol dc@1 --student "
            "convnet-3-instance-w32 --students 2 --epochs 60`."
        ]
    parts += ["## What is seen in the images, 10 images per class, mean over sets", _seen(sets)]
    spreads = [json.loads(file.read_text()) for file in sorted((RESULTS / "spread").glob("*.json"))]
    for ipc in sorted({one["ipc"] for one in spreads}):
        own = [one for one in spreads if one["ipc"] == ipc]
        parts += [f"## Spread inside classes and accuracy, {ipc} images per class", _spread(own, evaluations)]
    return "\n\n".join(parts) + "\n"


COLUMNS = {
    "every phrase (clip)": (JUDGES[0], "every"),
    "every phrase (referee)": (JUDGES[1], "every"),
    "cosine (clip)": (JUDGES[0], "score"),
    "spread (clip)": (JUDGES[0], "spread"),
    "spread (referee)": (JUDGES[1], "spread"),
    "teacher right": (JUDGES[0], "right"),
}


def _seen(sets: list[dict]) -> str:
    lines = [f"| arm | sets | s/image | {' | '.join(COLUMNS)} |", "|---|---|---|" + "---|" * len(COLUMNS)]
    for arm in ARMS:
        own = [one for one in sets if one["arm"] == arm]
        if own:
            seconds = statistics.mean(one["seconds_per_image"] for one in own)
            cells = [
                f"{statistics.mean(one['judged'][judge][name] for one in own):.3f}"
                for judge, name in COLUMNS.values()
            ]
            lines.append(f"| {arm} | {len(own)} | {seconds:.3f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(spreads: list[dict], evaluations: Sequence[Evaluation]) -> str:
    """Arms from the widest to the narrowest, with what their sets train narrow students to by hard labels."""
    rows = []
    for arm in {one["arm"] for one in spreads}:
        own = [one for one in spreads if one["arm"] == arm]
        reached = [
            one.mean
            for one in evaluations
            if (one.name, one.ipc, one.protocol) == (arm, own[0]["ipc"], "dc@1")
            and one.student == Net.parse(USUAL["dc@1"]).label
            and one.set_seed in {each["seed"] for each in own}
        ]
        if reached:
            wide = statistics.mean(one["spread"] for one in own)
            rows.append((wide, arm, len(own), statistics.mean(reached)))
    real = statistics.mean(one["real"] for one in spreads)
    lines = [
        f"Mean of 1 - cosine between two images of a class, as `digits/clip` sees them; {real:.3f} among real images.",
        "",
        "| arm | sets | spread | accuracy % |",
        "|---|--:|--:|--:|",
    ]
    lines += [
        f"| {arm} | {n} | {wide:.3f} | {100 * right:.1f} |" for wide, arm, n, right in sorted(rows)[::-1]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
