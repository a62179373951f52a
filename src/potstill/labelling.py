"""A teacher's labels for every view of a training, made once and kept beside a set's images."""

import shutil
from dataclasses import dataclass, fields, replace
from pathlib import Path

from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.core.fingerprint import fingerprint
from potstill.core.lock import alone
from potstill.core.progress import OnStep, silent
from potstill.data.real import RealData
from potstill.distilled import DistilledSet
from potstill.evaluation import PROTOCOLS
from potstill.evaluation.evaluate import centre
from potstill.evaluation.protocol import Plan, Protocol, Setting
from potstill.evaluation.teacher import ready_teacher
from potstill.labels import LABELLERS
from potstill.labels.header import Header
from potstill.labels.making import make, published_bytes
from potstill.labels.views import FILE, FORMAT, ViewLabels, described, pixels_sha256
from potstill.nets.spec import Net
from potstill.nets.store import StoredNet
from potstill.run import Executor


@dataclass(frozen=True, slots=True)
class Labelling:
    """Stored labels: the file, the views it labels, its bytes, and how many times smaller than as published.

    `teacher_accuracy` is the share of real test images that the teacher names right.
    """

    file: str
    views: int
    bytes: int
    smaller: float
    teacher_accuracy: float


def label_set(
    folder: Path | str,
    real: RealData,
    *,
    protocol: Protocol,
    teacher: str | None,
    teacher_classes: str | None = None,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    on: Executor | None = None,
    on_step: OnStep = silent,
) -> Labelling:
    """Stores a teacher's labels of every view that a protocol shows, beside a set's images.

    The teacher is first asked about the real test images, as by `evaluate_set`, and its accuracy is kept with the
    labels. A killed run goes on with the blocks of epochs that are missing, and finished labels are kept; `on` are the
    processes that ask the teacher (None: this one). Raises PotstillError for a protocol that reads no stored labels,
    for one class, without a teacher of the set's size, for one that is not fit to teach, and where these images have
    labels of another teacher, seed or protocol.
    """
    folder = Path(folder)
    distilled = DistilledSet.load(folder)
    images, labels = distilled.examples(real.classes.keys)
    if epochs is not None:
        protocol = protocol.scaled({"training.epochs": epochs})
    setting = Setting(
        student=Net.parse(protocol.students[0]),
        images=len(images),
        classes=len(real.classes),
        size=distilled.manifest.size,
        mirror=real.mirror,
    )
    plan = _plan(protocol, setting)
    if teacher is None:
        raise PotstillError("labels need a teacher: name one with --teacher")
    test = centre(real.test.pixels(None, plan.test_side), setting.size), real.test.labels
    near = "cpu" if on and on.apart else device
    taught, known = ready_teacher(teacher, teacher_classes, test, real.classes, folder, near)
    if known is None:
        raise PotstillError(f"the teacher was trained at {taught.size} px, {folder} holds {setting.size} px")
    stored = taught.narrowed(real.classes)
    header = _header(images, stored, plan, seed)
    keep = folder / "labels.partial" / header.digest
    asked = images, labels, stored.module, header, plan.changes
    with alone(folder):
        if not _labelled(folder, header):
            made = make(*asked, keep=keep, device=device, on=on, on_step=on_step)
            replace(made, teacher_accuracy=known).save(folder)
        shutil.rmtree(folder / "labels.partial", ignore_errors=True)
    views, taken = header.epochs * len(images), (folder / FILE).stat().st_size
    smaller = views * published_bytes(len(real.classes)) / taken
    return Labelling(str(folder / FILE), views, taken, smaller, known)


def _labelled(folder: Path, wanted: Header) -> bool:
    """Whether the set has these very labels; raises PotstillError where its images have others."""
    if not (folder / FILE).is_file():
        return False
    held = ViewLabels.read(folder).header
    if held.images != wanted.images or held == wanted:
        return held == wanted
    other = [field.name for field in fields(held) if getattr(held, field.name) != getattr(wanted, field.name)]
    raise PotstillError(
        f"{folder / FILE} holds labels of these images with another {', '.join(other)}: delete it to make these"
    )


def _header(images: Tensor, stored: StoredNet, plan: Plan, seed: int) -> Header:
    return Header(
        format=FORMAT,
        images=pixels_sha256(images),
        count=len(images),
        classes=tuple(stored.classes.keys),
        teacher=stored.spec.label,
        teacher_sha256=fingerprint([stored.module]),
        seed=seed,
        epochs=plan.training.epochs,
        batch=plan.training.batch,
        changes=described(plan.changes),
    )


def _plan(protocol: Protocol, setting: Setting) -> Plan:
    if setting.classes < 2:
        raise PotstillError("labels need at least two classes: of one a teacher has nothing to tell")
    plan = protocol.plan(setting)
    if not _reads_file(plan):
        others = [PROTOCOLS[name] for name in PROTOCOLS]
        plans = {one.label: one.plan(replace(setting, student=Net.parse(one.students[0]))) for one in others}
        readers = [label for label, one in plans.items() if _reads_file(one)]
        raise PotstillError(
            f"protocol {protocol.label} reads no stored labels. Allowed: {', '.join(readers)}"
        )
    return plan


def _reads_file(plan: Plan) -> bool:
    return LABELLERS[plan.labels].needs == "file"
