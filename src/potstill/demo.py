"""The demo: real digits distilled with and without concepts, offline, and a page that shows the result."""

from dataclasses import dataclass
from pathlib import Path

from potstill.core.progress import OnStep, silent
from potstill.data.digits import digits
from potstill.evaluation import PROTOCOLS
from potstill.evaluation.record import Evaluation
from potstill.nets.spec import Net
from potstill.pipeline import distill_recipe, evaluate_set
from potstill.recipes import RECIPES
from potstill.report import page, table

ARMS = ("digits-random", "digits-dit-unguided", "digits-dit", "digits-dit-complete", "digits-dit-concord")
STUDENT, EPOCHS, STUDENTS = "convnet-3-w32", 150, 3


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo leaves: its sets' evaluations, their table and the page."""

    evaluations: tuple[Evaluation, ...]
    table: str
    page: Path


def run_demo(out: Path, *, full: bool = False, on_step: OnStep = silent) -> Demo:
    """Makes every arm at 10 images per class, evaluates it and writes the page; a killed demo goes on.

    The short form trains students of width 32 for 150 epochs in place of width 128 for 300, and its results say
    so; `full` is the whole rded@1 protocol.
    """
    real, protocol = digits(), PROTOCOLS["rded@1"]
    student = Net.parse("convnet-3" if full else STUDENT)
    evaluations, sets = [], []
    for name in ARMS:
        folder = out / name
        distill_recipe(RECIPES[name](), folder, real=real, on_step=on_step)
        evaluations.append(
            evaluate_set(
                folder,
                real,
                protocol=protocol,
                student=student,
                teacher="digits/teacher",
                seeds=range(STUDENTS),
                epochs=None if full else EPOCHS,
                on_step=on_step,
            )
        )
        sets.append(folder)
    notes = [
        "One set an arm and several students a set: this shows the tools at work. The evidence, with many sets an "
        "arm, is in benchmarks/accuracy/."
    ]
    if not full:
        notes.append(
            f"To be quick, students are ConvNet-3 of width 32 for {EPOCHS} epochs; rded@1 has width 128 and 300 epochs."
        )
    files = [file for folder in sets for file in sorted((folder / "evaluations").glob("*.json"))]
    written = page(sets, files, out / "report.html", title="Digits, with and without concepts", notes=notes)
    return Demo(tuple(evaluations), table(evaluations, baseline="digits-dit-unguided"), written)
