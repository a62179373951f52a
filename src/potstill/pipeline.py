"""The whole flow as one readable file: real data to a distilled set to its evaluation to the page."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from potstill.bundled import resolve
from potstill.core.errors import PotstillError
from potstill.core.progress import OnStep, silent
from potstill.data import load
from potstill.data.real import RealData
from potstill.distilled import DistilledSet
from potstill.evaluation import PROTOCOLS
from potstill.evaluation.evaluate import Subject, evaluate
from potstill.evaluation.protocol import Protocol, scaled
from potstill.evaluation.record import Evaluation
from potstill.nets.spec import Net
from potstill.nets.store import load_net
from potstill.recipes import Recipe
from potstill.report import page
from potstill.report.card import write_card
from potstill.run import distill
from potstill.run.witness import Witness


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a recipe comes to: the set, its evaluation, and the page that shows them."""

    distilled: DistilledSet
    evaluation: Evaluation
    page: Path


def run(
    recipe: Recipe, out: Path, *, device: str = "cpu", batch: int = 64, on_step: OnStep = silent
) -> Outcome:
    """Takes a recipe from real data to the page; every stage resumes where a killed run left it."""
    distilled = distill_recipe(recipe, out, device=device, batch=batch, on_step=on_step)
    evaluation = evaluate_set(
        out,
        recipe_data(recipe),
        protocol=PROTOCOLS[recipe.protocol],
        student=Net.parse(recipe.student),
        teacher=recipe.teacher,
        seeds=range(recipe.students),
        device=device,
        on_step=on_step,
    )
    written = page(
        [out], sorted((out / "evaluations").glob("*.json")), out / "report.html", title=recipe.name
    )
    return Outcome(distilled, evaluation, written)


def recipe_data(recipe: Recipe) -> RealData:
    """The real data of a recipe."""
    return load(recipe.data, classes=recipe.classes)


def distill_recipe(
    recipe: Recipe,
    out: Path,
    *,
    real: RealData | None = None,
    device: str = "cpu",
    batch: int = 64,
    on_step: OnStep = silent,
) -> DistilledSet:
    """Makes a recipe's distilled set in the folder `out`, with its card; `real` spares reading the data again."""
    real = real or recipe_data(recipe)
    witness = Witness.prepare(recipe.witness, real, device=device) if recipe.witness else None
    distilled = distill(
        recipe.method,
        real,
        out,
        name=recipe.name,
        images_per_class=recipe.images_per_class,
        seed=recipe.seed,
        batch=batch,
        device=device,
        witness=witness,
        on_step=on_step,
    )
    write_card(out)
    return distilled


def evaluate_set(
    folder: Path,
    real: RealData,
    *,
    protocol: Protocol,
    student: Net,
    teacher: str | None,
    seeds: Sequence[int],
    images_per_class: int | None = None,
    epochs: int | None = None,
    device: str = "cpu",
    on_step: OnStep = silent,
) -> Evaluation:
    """Trains students on a distilled set, tests them on real images, and saves the numbers beside the set.

    `images_per_class` takes only the first images of every class; `epochs` scales the protocol down and the result
    says so. A finished evaluation is read, not repeated. Raises PotstillError where there are no test images.
    """
    distilled = DistilledSet.load(folder)
    distilled = distilled.first(images_per_class or distilled.manifest.images_per_class)
    if not len(real.test):
        raise PotstillError(f"{real.name} has no test images: name them with --test FOLDER")
    if epochs is not None:
        protocol = scaled(protocol, epochs=epochs)
    per_class = len(distilled.records) // len(real.classes)
    size = distilled.manifest.size
    stem = evaluation_name(protocol, student, per_class)
    images, labels = distilled.images(), distilled.labels(real.classes.keys)
    evaluation = evaluate(
        (images, labels),
        (real.test.pixels(None, protocol.test_side(size)), real.test.labels),
        subject=Subject(
            name=distilled.manifest.name,
            method=str(distilled.manifest.method["kind"]),
            data=real.name,
            set_seed=distilled.manifest.seed,
        ),
        protocol=protocol,
        student=student,
        classes=real.classes,
        seeds=seeds,
        mirror=real.mirror,
        teacher=load_net(Path(resolve(teacher))) if teacher and protocol.labels == "teacher" else None,
        partial=folder / "evaluations" / "partial" / f"{stem}.json",
        device=device,
        on_step=on_step,
    )
    evaluation.save(folder / "evaluations" / f"{stem}.json")
    return evaluation


def evaluation_name(protocol: Protocol, student: Net, images_per_class: int) -> str:
    """The file name of an evaluation: protocol, what was changed in it, student, images per class."""
    changed = "".join(f"-{name}-{value}" for name, value in sorted(protocol.changes.items()))
    named = f"{protocol.name}@{protocol.version}{changed}-{student.short}-ipc{images_per_class}"
    return re.sub(r"[^\w@.-]+", "-", named)
