"""Rates of matching on digits, chosen on a tenth of the training images that nothing else sees.

`python benchmarks/accuracy/tune_matching.py --arms digits-dm digits-dc` runs each recipe with its rates as they are and
times and divided by the factors given, one image a class, and prints what a student reaches (`Watch`), at four moments
on the way. For MTT, `--buffer` names experts that have not seen these images either: `potstill buffer runs/buffer-tune
--hold-out 0.1 --net convnet-3-instance-w32 --experts 20 --epochs 10` (those of the lines that are kept had). Lines are
kept in tune_matching.jsonl beside this file, and a run that is there is not made again.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from potstill.core.progress import silent
from potstill.data.digits import digits
from potstill.methods.matching import Matching
from potstill.methods.watch import Watch
from potstill.recipes import RECIPES

FILE = Path(__file__).with_suffix(".jsonl")
RATES = ("rate", "rate_condition", "rate_w", "rate_f")


def main() -> None:
    """Runs what is missing, arm by arm."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--arms", nargs="+", required=True, choices=RECIPES)
    options.add_argument("--factors", type=float, nargs="+", default=[0.1, 1.0, 10.0])
    options.add_argument("--iterations", type=int, default=200)
    options.add_argument("--ipc", type=int, default=1)
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--buffer", help="instead of the recipe's")
    chosen = options.parse_args()
    kept = [json.loads(line) for line in FILE.read_text().splitlines()] if FILE.exists() else []
    for arm in chosen.arms:
        for factor in chosen.factors:
            for seed in range(chosen.seeds):
                asked = {
                    "arm": arm,
                    "factor": factor,
                    "ipc": chosen.ipc,
                    "seed": seed,
                    "iterations": chosen.iterations,
                }
                if not any(asked.items() <= line.items() for line in kept):
                    told = asked | tried(arm, factor, chosen.iterations, chosen.ipc, seed, chosen.buffer)
                    print(json.dumps(told), flush=True)
                    with FILE.open("a") as file:
                        file.write(json.dumps(told) + "\n")


def tried(
    arm: str, factor: float, iterations: int, ipc: int, seed: int, buffer: str | None
) -> dict[str, Any]:
    """The rates of one run, and what its looks saw."""
    method = RECIPES[arm]().method
    assert isinstance(method, Matching)
    rates = {name: getattr(method.canvas, name) * factor for name in RATES if hasattr(method.canvas, name)}
    objective = dataclasses.replace(method.objective, **({"buffer": buffer} if buffer else {}))
    method = dataclasses.replace(
        method,
        objective=objective,
        canvas=dataclasses.replace(method.canvas, **rates),
        iterations=iterations,
        watch=Watch(every=max(iterations // 4, 1)),
    )
    match = method.prepare(digits(), seed=seed, images_per_class=ipc, device="cpu")
    try:
        match.optimise(silent)
        ended = ""
    except Exception as error:  # a rate too high is a result
        ended = str(error)
    looks = [round(100 * look["accuracy"], 1) for look in match.looks]
    return {**rates, "accuracy": looks, "seconds": round(match.seconds, 1), "ended": ended}


if __name__ == "__main__":
    main()
