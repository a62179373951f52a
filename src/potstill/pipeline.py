"""The whole flow as one readable file: real data to a distilled set to its evaluation to the page."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.core.progress import OnStep, silent
from potstill.data import load
from potstill.data.foreign import open_set
from potstill.data.real import RealData
from potstill.distilled import DistilledSet, Manifest
from potstill.distilled.evaluable import Evaluable
from potstill.distilled.resize import resized
from potstill.evaluation import PROTOCOLS
from potstill.evaluation.evaluate import Finished, Subject, centre, evaluate, judge_print
from potstill.evaluation.protocol import Plan, Protocol, Setting
from potstill.evaluation.record import Evaluation
from potstill.evaluation.student import Labelled
from potstill.evaluation.teacher import ready_teacher
from potstill.labels import LABELLERS
from potstill.labels.views import ViewLabels
from potstill.nets.spec import Net
from potstill.nets.store import StoredNet
from potstill.recipes import Recipe
from potstill.report import page
from potstill.report.card import CARD, write_card
from potstill.run import Executor, distill

RESULTS = Path("runs/foreign")
"""Where evaluations of other people's sets go, for nothing is written into their folders."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a recipe comes to: the set, its evaluation, and the page that shows them."""

    distilled: DistilledSet
    evaluation: Evaluation
    page: Path


def run(
    recipe: Recipe, out: Path | str, *, device: str = "cpu", batch: int = 64, on_step: OnStep = silent
) -> Outcome:
    """Takes a recipe from real data to the page; every stage resumes where a killed run left it.

    Raises PotstillError before anything is made for a protocol or student that there is not, no students, and data
    without test images.
    """
    out, _ = Path(out), (PROTOCOLS[recipe.protocol], Net.parse(recipe.student))
    if recipe.students < 1:
        raise PotstillError(f"students must be at least 1, not {recipe.students}")
    real = recipe_data(recipe)
    require_tests(real)
    distilled = distill_recipe(recipe, out, real=real, device=device, batch=batch, on_step=on_step)
    evaluation = evaluate_recipe(recipe, out, real, device=device, on_step=on_step)
    written = page(
        [out], sorted((out / "evaluations").glob("*.json")), out / "report.html", title=recipe.name
    )
    return Outcome(distilled, evaluation, written)


def recipe_data(recipe: Recipe) -> RealData:
    """The real data of a recipe."""
    return load(recipe.data, classes=recipe.classes)


def distill_recipe(
    recipe: Recipe,
    out: Path | str,
    *,
    real: RealData | None = None,
    device: str = "cpu",
    batch: int = 64,
    on: Executor | None = None,
    on_step: OnStep = silent,
) -> DistilledSet:
    """Makes a recipe's distilled set in the folder `out`, with its card, unless there is one.

    `real` spares reading the data again; `on` are the processes that make the images (None: this one).
    """
    out, real = Path(out), real or recipe_data(recipe)
    distilled = distill(
        recipe.method,
        real,
        out,
        name=recipe.name,
        images_per_class=recipe.images_per_class,
        seed=recipe.seed,
        batch=batch,
        device=device,
        witness=recipe.witness,
        on=on,
        on_step=on_step,
    )
    if not (out / CARD).exists():
        write_card(out)
    return distilled


def evaluate_recipe(
    recipe: Recipe,
    out: Path | str,
    real: RealData,
    *,
    epochs: int | None = None,
    device: str = "cpu",
    on_step: OnStep = silent,
) -> Evaluation:
    """Evaluates the set in the folder `out` as its recipe says."""
    return evaluate_set(
        out,
        real,
        protocol=PROTOCOLS[recipe.protocol],
        student=Net.parse(recipe.student),
        teacher=recipe.teacher,
        seeds=range(recipe.students),
        epochs=epochs,
        size=recipe.size,
        device=device,
        on_step=on_step,
    )


def evaluate_set(
    source: Path | str,
    real: RealData,
    *,
    protocol: Protocol,
    student: Net,
    teacher: str | None,
    seeds: Sequence[int],
    images_per_class: int | None = None,
    epochs: int | None = None,
    habit: bool = False,
    class_order: str | None = None,
    teacher_classes: str | None = None,
    size: int | None = None,
    skip_bad: bool = False,
    results: Path = RESULTS,
    device: str = "cpu",
    on_step: OnStep = silent,
) -> Evaluation:
    """Trains students on a set, tests them on real images, and saves the numbers beside the set.

    `source` is a distilled set's folder, or any image folder or Hugging Face data set (`potstill.data.foreign`, which
    `class_order`, `skip_bad` and `results` are for). A teacher is asked about the test images first (`ready_teacher`);
    `teacher_classes` names the order of its classes. `images_per_class` takes the first images of every class; `epochs`
    scales the protocol down, `size` shows all images at another side in px, and the result says so; `habit` adds the
    best of its source's looks. Students are kept in a file a judge. Raises PotstillError without test images.
    """
    require_tests(real)
    how: Any = {"order": class_order, "size": size, "skip_bad": skip_bad, "on_step": on_step}
    found = open_set(str(source), real, results, **how)
    found = found.first(found.manifest.images_per_class if images_per_class is None else images_per_class)
    protocol = protocol if epochs is None else protocol.scaled({"training.epochs": epochs})
    images, labels = _seen(found, real, size)
    side, count = images.shape[-1], len(real.classes)
    setting = Setting(student=student, images=len(images), classes=count, size=side, mirror=real.mirror)
    plan = protocol.plan(setting)
    test = real.test.pixels(None, plan.test_side), real.test.labels
    taught, stored, known = _judge(plan, teacher, teacher_classes, images, test, real, found.folder, device)
    judge = judge_print(taught, stored, real.fingerprint, habit)
    told = protocol if size is None else protocol.scaled({"size": size})  # for the record: no plan has a size
    name = evaluation_name(told, student, len(images) // (count * found.manifest.parts**2))
    file, partial = _files(found.folder / "evaluations", name, judge)
    made = evaluate(
        (images, labels),
        test,
        subject=_subject(found.manifest, real),
        protocol=protocol,
        student=student,
        classes=real.classes,
        seeds=seeds,
        mirror=real.mirror,
        teacher=taught,
        stored=stored,
        habit=habit,
        partial=partial,
        judge=judge,
        device=device,
        on_step=on_step,
    )
    return _saved(made, told, known, file, partial)


def require_tests(real: RealData) -> None:
    """Raises PotstillError for data without test images."""
    if not len(real.test):
        raise PotstillError(f"{real.name} has no test images: name them with --test FOLDER")


def _seen(found: Evaluable, real: RealData, size: int | None) -> Labelled:
    images, labels = found.examples(real.classes.keys)
    return (images if size is None else resized(images, size)), labels


def _saved(
    made: Evaluation, told: Protocol, teacher_accuracy: float | None, file: Path, partial: Path
) -> Evaluation:
    """The evaluation under the protocol as it is told; on disk it has the students of earlier calls too."""
    made = replace(made, protocol=told.label, settings=told.overrides, teacher_accuracy=teacher_accuracy)
    replace(made, runs=Finished.load(partial).in_order).save(file)
    return made


def _judge(
    plan: Plan,
    teacher: str | None,
    order: str | None,
    images: Tensor,
    test: Labelled,
    real: RealData,
    folder: Path,
    device: str,
) -> tuple[StoredNet | None, ViewLabels | None, float | None]:
    """The teacher that is asked, or the labels that one has stored, and its accuracy where it is known."""
    needs = LABELLERS[plan.labels].needs
    if needs == "file":
        stored = ViewLabels.load(folder, images, real.classes.keys)
        return None, stored, stored.teacher_accuracy
    if needs == "nothing" or teacher is None:
        return None, None, None
    middle = centre(test[0], images.shape[-1]), test[1]
    taught, known = ready_teacher(teacher, order, middle, real.classes, folder, device)
    return taught, None, known


def _files(folder: Path, name: str, judge: str) -> tuple[Path, Path]:
    """An evaluation's file and its partial file; another judge's than the first has its hash in the name."""
    plain, own = folder / "partial" / f"{name}.json", folder / "partial" / f"{name}-{judge}.json"
    held = Finished.load(plain) if plain.exists() else None
    taken = held is not None and held.runs and held.judge not in (None, judge)
    partial = own if taken or own.exists() else plain
    return folder / partial.name, partial


def _subject(manifest: Manifest, real: RealData) -> Subject:
    method = str(manifest.method["kind"])
    return Subject(
        name=manifest.name,
        method=method,
        data=real.name,
        data_sha256=real.fingerprint,
        set_seed=manifest.seed,
        tiles=manifest.parts**2,
    )


def evaluation_name(protocol: Protocol, student: Net, images_per_class: int) -> str:
    """The file name of an evaluation: protocol, what was changed in it, student, images per class."""
    changed = "".join(f"-{path.split('.')[-1]}-{value}" for path, value in sorted(protocol.overrides.items()))
    named = f"{protocol.name}@{protocol.version}{changed}-{student.short}-ipc{images_per_class}"
    return re.sub(r"[^\w@.-]+", "-", named)
