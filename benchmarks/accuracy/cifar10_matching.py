"""DM and DC on CIFAR-10 at one image per class, for as long as two cores have, beside the published numbers.

`python benchmarks/accuracy/cifar10_matching.py --data FOLDER` runs recipes `cifar10-dm` and `cifar10-dc`, published
settings but for the number of iterations, looks at the sets on the way with narrow students and held-out training
images, trains students on what came out, and writes the table beside this file; it goes on where it was stopped.
"""

import argparse
import dataclasses
import json
from pathlib import Path

from potstill.core.files import write_json, write_text
from potstill.core.memory import keep_freed_memory
from potstill.data import load
from potstill.evaluation import PROTOCOLS
from potstill.evaluation.record import Evaluation
from potstill.methods.matching import LOOKS, Matching
from potstill.methods.watch import Watch
from potstill.nets.spec import Net
from potstill.pipeline import distill_recipe, evaluate_set
from potstill.recipes import RECIPES

HERE = Path(__file__).parent
RESULTS = HERE / "cifar10_matching"
PUBLISHED = {"dm": 26.0, "dc": 28.3}
"""Per cent, ConvNet-3: DM (Zhao & Bilen 2023, arXiv:2110.04181), table 1; DC (arXiv:2006.05929), table 1."""
ITERATIONS = {"dm": 560, "dc": 220}
"""About an hour each on one core."""
LOOKED = 8
"""Times on the way."""


def main() -> None:
    """Runs what is missing and writes the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", required=True)
    options.add_argument("--arms", nargs="+", default=list(PUBLISHED), choices=PUBLISHED)
    options.add_argument("--students", type=int, default=3)
    options.add_argument("--work", type=Path, default=Path("runs/accuracy/cifar10_matching"))
    chosen = options.parse_args()
    keep_freed_memory()
    real = load(chosen.data)
    for arm in chosen.arms:
        recipe = RECIPES[f"cifar10-{arm}"]()
        method = recipe.method
        assert isinstance(method, Matching)
        count = ITERATIONS[arm]
        method = dataclasses.replace(method, iterations=count, watch=Watch(every=count // LOOKED))
        recipe = dataclasses.replace(recipe, method=method, images_per_class=1)
        made = distill_recipe(recipe, chosen.work / arm, real=real)
        looks = json.loads((made.folder / LOOKS).read_text())
        write_json(RESULTS / f"{arm}.looks.json", {"seconds": made.manifest.seconds, "looks": looks})
        done = evaluate_set(
            made.folder,
            real,
            protocol=PROTOCOLS[recipe.protocol],
            student=Net.parse(recipe.student),
            teacher=None,
            seeds=range(chosen.students),
        )
        done.save(RESULTS / f"{arm}.evaluation.json")
        write_text(HERE / "cifar10_matching_cpu.md", written())


def written() -> str:
    """The page of saved results."""
    lines = ["| | iterations | minutes | published % | ours % | n |", "|---|--:|--:|--:|--:|--:|"]
    curves = ["| | iterations | minutes | held-out training images, % |", "|---|--:|--:|--:|"]
    for arm, published in PUBLISHED.items():
        file = RESULTS / f"{arm}.evaluation.json"
        if not file.exists():
            continue
        done, told = Evaluation.load(file), json.loads((RESULTS / f"{arm}.looks.json").read_text())
        minutes = told["seconds"] / 60
        lines.append(
            f"| {arm.upper()} | {ITERATIONS[arm]} | {minutes:.0f} | {published} | "
            f"{100 * done.mean:.1f} | {len(done.runs)} |"
        )
        for look in told["looks"]:
            curves.append(
                f"| {arm.upper()} | {look['iteration']} | {look['seconds'] / 60:.0f} | {100 * look['accuracy']:.1f} |"
            )
    parts = [
        "# DM and DC on CIFAR-10, one image per class",
        "Made by `python benchmarks/accuracy/cifar10_matching.py` with one thread; n students of one set each.",
        "\n".join(lines),
        "## On the way",
        "Students of width 32 and 300 epochs: lower than the table above, to be compared with each other only.",
        "\n".join(curves),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
