"""What informing in few steps is worth to students, on digits.

`python benchmarks/accuracy/few_steps_accuracy.py` sweeps the steps of DiT without guidance, uninformed and informed
with the weight that 50 steps have, at one image a class, trains students on each set by `dc@1` (hard labels, where
informing shows), keeps the evaluations in `few_steps/` and writes the page `few_steps_accuracy_cpu.md`. Sets of the
same seed are paired. It can be stopped at any time and goes on where it was. `--seeds` sets a point.
"""

import argparse
from pathlib import Path

from potstill.core.files import write_text
from potstill.core.memory import keep_freed_memory
from potstill.evaluation.record import Evaluation
from potstill.evaluation.statistics import deviation, holm, mean, paired
from potstill.recipes import RECIPES
from potstill.sweeps import sweep

HERE = Path(__file__).parent
SAVED = HERE / "few_steps"
ARMS = ("digits-dit-unguided", "digits-dit-unguided-concord")
STEPS = (8, 12, 20, 50)
CHANGES = {
    "images_per_class": "1",
    "protocol": "dc@1",
    "student": "convnet-3-instance-w32",
    "students": "3",
    "teacher": "null",
    "witness": "null",
}


def main() -> None:
    """Makes what is missing and writes the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--work", type=Path, default=Path("runs/few-steps"))
    chosen = options.parse_args()
    keep_freed_memory()
    for arm in ARMS:
        out = chosen.work / arm
        made = sweep(RECIPES[arm](), {"method.steps": STEPS}, out, seeds=chosen.seeds, changes=CHANGES)
        for point, one in zip(made.points, made.evaluations(out), strict=True):
            one.save(SAVED / f"{arm}-steps{point.at('method.steps')}-seed{one.set_seed}.json")
        write_text(HERE / "few_steps_accuracy_cpu.md", written())


def written() -> str:
    """The page of saved results."""
    plain, informed = ({steps: _sets(f"{arm}-steps{steps}-seed*.json") for steps in STEPS} for arm in ARMS)
    found = {
        steps: paired([informed[steps][seed] for seed in common], [plain[steps][seed] for seed in common])
        for steps in STEPS
        if len(common := sorted(plain[steps].keys() & informed[steps].keys())) > 1
    }
    corrected = holm([one.p or 0.0 for one in found.values()])
    lines = [
        "# Students of few steps",
        "",
        "Made by `python benchmarks/accuracy/few_steps_accuracy.py`: digits of DiT without guidance, one image a "
        "class, DDIM; `dc@1`, ConvNet-3 of width 32, three students a set. Accuracy in %, mean and deviation over "
        "sets; differences in points with 95 % intervals over sets of the same seed, p corrected by Holm for the rows.",
        "",
        "| steps | not informed | informed | sets | difference | p (Holm) |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    for (steps, one), p in zip(found.items(), corrected, strict=True):
        cells = [_cell(list(arm[steps].values())) for arm in (plain, informed)]
        told = "{:+.1f} [{:+.1f}, {:+.1f}]".format(
            *(100 * (value or 0.0) for value in (one.mean, one.low, one.high))
        )
        lines.append(f"| {steps} | {cells[0]} | {cells[1]} | {one.n} | {told} | {p:.3f} |")
    return "\n".join(lines) + "\n"


def _sets(pattern: str) -> dict[int, float]:
    """Each set's mean over its students, by set seed."""
    saved = [Evaluation.load(file) for file in sorted(SAVED.glob(pattern))]
    return {one.set_seed: one.mean for one in saved}


def _cell(values: list[float]) -> str:
    return f"{100 * mean(values):.1f} ± {100 * (deviation(values) or 0.0):.1f}"


if __name__ == "__main__":
    main()
