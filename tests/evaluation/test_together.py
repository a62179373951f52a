"""Students side by side: the same bits as one at a time, kept as they finish, stopped when they should be."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Barrier, Event, current_thread, main_thread
from typing import Any

import pytest
import torch

from potstill.core.errors import PotstillError
from potstill.core.files import read_json
from potstill.core.progress import OnStep, Step
from potstill.core.seeds import generator
from potstill.data.real import Classes
from potstill.evaluation import PROTOCOLS
from potstill.evaluation.evaluate import Subject, evaluate
from potstill.evaluation.protocol import Protocol, Setting
from potstill.evaluation.record import Evaluation
from potstill.evaluation.student import Labelled, hits, train_student
from potstill.evaluation.together import Check, Stopped, at_once, side_by_side
from potstill.labels import LABELLERS
from potstill.nets.spec import Net, build
from potstill.nets.store import StoredNet, frozen

FOUR = Classes(tuple("abcd"), tuple("abcd"))
SMALL = Net(width=4)
SEEDS = [3, 1, 2]
EPOCHS = 2


def pictures(count: int) -> Labelled:
    drawn = torch.randint(256, (count, 3, 8, 8), generator=generator(count), dtype=torch.uint8)
    return drawn, torch.arange(count) % 4


def teacher() -> StoredNet:
    module = frozen(build(SMALL, 4, 8, generator("teacher")).eval())
    return StoredNet(module=module, spec=SMALL, classes=FOUR, size=8)


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def short(protocol: str) -> Protocol:
    return PROTOCOLS[protocol].scaled({"training.epochs": EPOCHS})


def judge(**changes: Any) -> Evaluation:
    settings: dict[str, Any] = {
        "subject": Subject(name="x", method="random", data="x", set_seed=0),
        "protocol": short("rded@1"),
        "student": SMALL,
        "classes": FOUR,
        "seeds": SEEDS,
        "mirror": True,
        "teacher": teacher(),
    }
    return evaluate(pictures(24), pictures(40), **(settings | changes))


def numbers(evaluation: Evaluation) -> list[tuple[int, float, float, float]]:
    return [(run.seed, run.accuracy, run.top5, run.train_loss) for run in evaluation.runs]


def alone(protocol: str, seed: int) -> tuple[int, float, float, float]:
    """A student trained and tested in this thread, on one core, with nothing of the code under test."""
    plan = short(protocol).plan(Setting(student=SMALL, images=24, classes=4, size=8, mirror=True))
    labeller = LABELLERS[plan.labels](teacher().module, plan.temperature)
    module, loss = train_student(
        pictures(24), plan=plan, student=SMALL, classes=4, labeller=labeller, seed=seed
    )
    return (seed, *hits(module, *pictures(40)), loss)


@pytest.mark.parametrize("protocol", ["rded@1", "hard@1", "dc@1", "dsa@1", "glad@1"])
def test_students_side_by_side_have_the_bits_of_each_alone(protocol: str, threads: int) -> None:
    together = numbers(judge(protocol=short(protocol)))
    assert torch.get_num_threads() == threads
    torch.set_num_threads(1)
    assert together == [alone(protocol, seed) for seed in SEEDS]


def test_steps_are_counted_in_the_callers_thread(threads: int) -> None:
    steps: list[Step] = []

    def hear(step: Step) -> None:
        assert current_thread() is main_thread()
        steps.append(step)

    judge(on_step=hear)
    assert [step.index for step in steps] == [1, 2, 3, 4, 5, 6]
    assert {(step.stage, step.total) for step in steps} == {("evaluate", 6)}
    assert sorted(step.scalars["student"] for step in steps) == [1, 1, 2, 2, 3, 3]
    assert len({step.scalars["loss"] for step in steps}) == 6


def test_an_interruption_keeps_who_has_finished(threads: int, tmp_path: Path) -> None:
    straight, partial = numbers(judge()), tmp_path / "partial.json"

    def stop(step: Step) -> None:
        if step.index == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(partial=partial, on_step=stop)
    kept = {run["seed"] for run in read_json(partial)["runs"]} if partial.exists() else set()
    assert len(kept) >= 3 - threads
    heard: list[int] = []
    assert numbers(judge(partial=partial, on_step=lambda step: heard.append(step.index))) == straight
    assert heard == list(range(1 + EPOCHS * len(kept), 7))


def test_an_error_of_a_student_surfaces_as_it_is(threads: int) -> None:
    wild = PROTOCOLS["hard@1"].scaled({"training.epochs": 20, "training.rate": 1e30})
    with pytest.raises(PotstillError, match="training diverged"):
        judge(protocol=wild)
    assert torch.get_num_threads() == threads


Job = Callable[[OnStep, Check], int]


def run(jobs: list[Job], threads: int, on_step: OnStep = lambda step: None) -> list[int]:
    kept: list[int] = []
    side_by_side(jobs, threads=threads, keep=kept.append, on_step=on_step)
    return kept


def test_so_many_at_once_on_a_core_each() -> None:
    """Three jobs that wait for each other end only if they run together."""
    met = Barrier(3, timeout=20)

    def job(listen: OnStep, check: Check) -> int:
        met.wait()
        return torch.get_num_threads()

    assert run([job] * 6, 3) == [1] * 6


def test_the_first_error_stops_the_others_and_starts_no_more() -> None:
    begun, ended = Event(), []

    def patient(listen: OnStep, check: Check) -> int:
        begun.set()
        try:
            while True:
                check()
                time.sleep(0.001)
        except Stopped:
            ended.append("stopped")
            raise

    def failing(listen: OnStep, check: Check) -> int:
        begun.wait(20)
        raise ValueError("mine")

    def late(listen: OnStep, check: Check) -> int:
        ended.append("late")
        return 0

    with pytest.raises(ValueError, match="mine") as raised:
        run([patient, failing, late], 2)
    assert raised.traceback[-1].name == "failing"
    assert ended.count("stopped") == 1


def test_what_was_made_is_kept_at_once() -> None:
    """The second job ends only when the first one's result has arrived."""
    arrived, kept = Event(), []

    def first(listen: OnStep, check: Check) -> int:
        return 1

    def second(listen: OnStep, check: Check) -> int:
        assert arrived.wait(20)
        return 2

    def keep(value: int) -> None:
        kept.append(value)
        arrived.set()

    side_by_side([first, second], threads=2, keep=keep, on_step=lambda step: None)
    assert kept == [1, 2]


def test_a_cpu_trains_a_student_a_thread_and_an_accelerator_one_at_a_time(threads: int) -> None:
    assert (at_once("cpu"), at_once("cuda:1")) == (threads, 1)


PATIENT = """
import sys, time
from potstill.evaluation.together import side_by_side
def job(listen, check):
    print("begun", flush=True)
    while True:
        check()
        time.sleep(0.01)
side_by_side([job] * 4, threads=2, keep=print, on_step=print)
"""


def test_ctrl_c_stops() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PATIENT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=20)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert out == ""
