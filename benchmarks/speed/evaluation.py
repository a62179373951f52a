"""What an evaluation costs: `potstill.evaluate` against a plain loader-based loop, in turn, in one run, on digits.

`python benchmarks/speed/evaluation.py` trains and tests the students of `rded@1` on 10 digits a class both ways, each
arm in a process of its own, and writes seconds, ratios and peak memory to `evaluation_digits_cpu_DATE.md` beside it.
`plain_loop.py` says what the other loop does. It runs on all cores and, so that no thread burns time waiting for a core
that other work holds, on one: of that arm processor seconds are what counts. Reading the data is not timed.
`--size narrow` takes students of width 32; `--size smoke` is short and writes nothing.
"""

import argparse
import datetime
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from plain_loop import SIDE, TEMPERATURE, plain
from torch.nn import functional

from potstill.core.memory import keep_freed_memory
from potstill.core.seeds import generator
from potstill.data.digits import digits
from potstill.data.real import RealData
from potstill.evaluation import PROTOCOLS
from potstill.evaluation.evaluate import Subject, evaluate
from potstill.evaluation.protocol import Setting
from potstill.evaluation.student import Labelled, hits
from potstill.labels import LABELLERS
from potstill.nets.augment import in_turn
from potstill.nets.fit import views
from potstill.nets.layers import in_order
from potstill.nets.predict import predict
from potstill.nets.spec import Net, build
from potstill.nets.store import load_net

PER_CLASS, FULL = 10, 300
PLAIN, QUIET, OURS = "plain", "plain, one thread", "potstill"
SIZES = {"full": (10, 5, 3, 128), "narrow": (20, 5, 3, 32), "smoke": (1, 2, 1, 8)}
"""Epochs, seeds, rounds and width."""


def world() -> tuple[RealData, Labelled, Labelled]:
    """Digits, the first ten images of each class, and the test images."""
    real = digits()
    rows = torch.cat([real.train.of_class(label)[:PER_CLASS] for label in range(len(real.classes))])
    train = real.train.pixels(rows.tolist(), SIDE), real.train.labels[rows]
    return real, train, (real.test.pixels(None, SIDE), real.test.labels)


def teacher() -> Any:
    """The teacher that ships with potstill."""
    return load_net("digits/teacher")


def ours(
    real: RealData, train: Labelled, test: Labelled, epochs: int, seeds: Sequence[int], width: int
) -> dict[str, Any]:
    """All seeds by `evaluate`, which tests each student once."""
    done = evaluate(
        train,
        test,
        subject=Subject(name="speed", method="random", data=real.name, set_seed=0),
        protocol=PROTOCOLS["rded@1"].scaled({"training.epochs": epochs}),
        student=Net(width=width),
        classes=real.classes,
        seeds=seeds,
        mirror=False,
        teacher=teacher(),
    )
    return {"accuracy": list(done.accuracies)}


def parts(epochs: int, width: int) -> dict[str, float]:
    """Milliseconds a step of one student on one core by part, in processor time; `test` is milliseconds a test."""
    torch.set_num_threads(1)
    real, train, test = world()
    student, wise = Net(width=width), teacher().module
    setting = Setting(student=student, images=len(train[0]), classes=10, size=SIDE, mirror=False)
    plan = PROTOCOLS["rded@1"].plan(setting)
    module = in_order(build(student, 10, SIDE, generator(0, "student", "start"))).train()
    optimiser = plan.training.optimiser.build(module, plan.training.rate)
    labels = LABELLERS["teacher"](wise, plan.temperature)
    pixels, draw = train[0].permute(0, 2, 3, 1).contiguous(), labels.draws(0)
    spent: dict[str, list[float]] = {}

    def timed(part: str, work: Callable[[], Any]) -> Any:
        started = time.thread_time()
        result = work()
        spent.setdefault(part, []).append(1e3 * (time.thread_time() - started))
        return result

    for epoch in range(epochs):
        seen = views(
            pixels, train[1], 10, plan.training.batch, torch.float32, in_turn(plan.changes), draw, epoch
        )
        while (view := timed("views", partial(next, seen, None))) is not None:
            wanted = timed("teacher", lambda: (predict(wise, view.images) / TEMPERATURE).log_softmax(1))
            found = timed("student forward", lambda: (module(view.images) / TEMPERATURE).log_softmax(1))
            loss = functional.kl_div(found, wanted, reduction="batchmean", log_target=True)
            optimiser.zero_grad()
            timed("student backward", loss.backward)
            timed("optimiser", optimiser.step)
    module.eval()
    for _ in range(3):
        timed("test", lambda: hits(module, *test))
    return {part: statistics.median(times) for part, times in spent.items()}


def measured(arm: str, epochs: int, seeds: int, width: int) -> dict[str, Any]:
    """An arm in this process: seconds on the clock and of processors, and the most memory held, in GiB."""
    real, train, test = world()
    wise = teacher().module
    if arm == QUIET:
        torch.set_num_threads(1)
    before, started = processor(), time.perf_counter()
    if arm != OURS:
        found = plain(train, test, wise, epochs, range(seeds), width)
    else:
        found = ours(real, train, test, epochs, range(seeds), width)
    seconds = time.perf_counter() - started
    here, there = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        **found,
        "seconds": seconds,
        "processor": processor() - before,
        "memory": here.ru_maxrss / 2**20,
        "worker": there.ru_maxrss / 2**20,
        "load": os.getloadavg()[0],
    }


def processor() -> float:
    """Processor seconds of this process and of its workers that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def apart(*options: Any) -> dict[str, Any]:
    """What a process of this script prints as JSON."""
    command = [sys.executable, "-W", "ignore", __file__, *map(str, options)]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(found.stdout.splitlines()[-1])


def full(arm: str, round_: dict[str, Any], epochs: int, seeds: int) -> float:
    """Seconds of 300 epochs and their tests, six of the plain loop; ours counts all its short run's, which is more."""
    if arm == OURS:
        return round_["seconds"] * FULL / epochs
    tested = seeds * round_["test_seconds"]
    return (round_["seconds"] - tested) * FULL / epochs + 6 * tested


def spread(values: Sequence[float], form: str = ".1f") -> str:
    """Median and range."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def page(size: str, rounds: dict[str, list[dict[str, Any]]], found: dict[str, float]) -> str:
    """The result as Markdown."""
    epochs, seeds, _, width = SIZES[size]
    count = len(rounds[OURS])
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(rounds[PLAIN], rounds[OURS], strict=True)]
    busy = [a["processor"] / b["processor"] for a, b in zip(rounds[QUIET], rounds[OURS], strict=True)]
    whole = [
        full(PLAIN, a, epochs, seeds) / full(OURS, b, epochs, seeds)
        for a, b in zip(rounds[PLAIN], rounds[OURS], strict=True)
    ]
    lines = [
        f"## ConvNet-3 of width {width}, {seeds} seeds, {epochs} epochs",
        "",
        f"`python benchmarks/speed/evaluation.py --size {size}`, {count} rounds in turn, {os.cpu_count()} cores, "
        f"torch {torch.__version__}; medians with ranges. Load average at the end of each arm: "
        + ", ".join(f"{one['load']:.1f}" for arm in rounds.values() for one in arm)
        + ".",
        "",
        "| | seconds | processor seconds | peak memory, GiB | largest worker, GiB | mean accuracy |",
        "|---|---|---|---|---|---|",
    ]
    for arm, done in rounds.items():
        cells = [spread([one[key] for one in done]) for key in ("seconds", "processor")]
        cells += [f"{max(one[key] for one in done):.2f}" for key in ("memory", "worker")]
        accuracy = statistics.mean(statistics.mean(one["accuracy"]) for one in done)
        lines.append(f"| {arm} | {' | '.join(cells)} | {100 * accuracy:.1f} % |")
    per_step = {part: time_ for part, time_ in found.items() if part != "test"}
    lines += [
        "",
        f"- plain / potstill on the clock: **{spread(ratios, '.2f')}**, n = {count}",
        f"- plain, one thread / potstill in processor seconds, which other work on the machine moves least: "
        f"**{spread(busy, '.2f')}**",
        f"- on the clock, reckoned for all {FULL} epochs with six tests against one: {spread(whole, '.2f')}",
        "",
        "Where a step of a student goes (one core, batch 50):",
        "",
        "| part | ms | share |",
        "|---|---|---|",
        *(f"| {part} | {ms:.2f} | {ms / sum(per_step.values()):.0%} |" for part, ms in per_step.items()),
        "",
        f"A test of 1,000 images takes {found['test'] / 1e3:.2f} s, once a student.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Runs the rounds and writes the page, or one arm and prints it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--size", choices=list(SIZES), default="full")
    options.add_argument(
        "--arm", choices=[PLAIN, QUIET, OURS, "parts"], help="one arm in this process, as JSON"
    )
    options.add_argument("--out", type=Path, default=Path(__file__).parent)
    chosen = options.parse_args()
    epochs, seeds, count, width = SIZES[chosen.size]
    if chosen.arm:
        if chosen.arm in (OURS, "parts"):
            keep_freed_memory()
        found = parts(10, width) if chosen.arm == "parts" else measured(chosen.arm, epochs, seeds, width)
        print(json.dumps(found))
        return
    rounds: dict[str, list[dict[str, Any]]] = {PLAIN: [], QUIET: [], OURS: []}
    for turn in range(count):
        for arm in list(rounds)[:: 1 if turn % 2 == 0 else -1]:
            rounds[arm].append(apart("--arm", arm, "--size", chosen.size))
            print(arm, json.dumps(rounds[arm][-1]), file=sys.stderr, flush=True)
    text = page(chosen.size, rounds, apart("--arm", "parts", "--size", chosen.size))
    print(text)
    if chosen.size != "smoke":
        keep(chosen.out / f"evaluation_digits_cpu_{datetime.date.today()}.md", text)


def keep(file: Path, text: str) -> None:
    """Adds a size's section to the day's page, in the place of an older one."""
    title = text.splitlines()[0]
    old = file.read_text() if file.exists() else "# What an evaluation costs on digits\n\n"
    head, *sections = old.split("\n## ")
    others = [f"## {section}".rstrip() for section in sections if f"## {section}".splitlines()[0] != title]
    file.write_text("\n\n".join([head.rstrip(), *others, text.rstrip()]) + "\n")


if __name__ == "__main__":
    main()
