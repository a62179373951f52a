"""A teacher's labels for every view of a training, made once and kept beside a set's images."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from potstill.core.errors import PotstillError
from potstill.core.fingerprint import fingerprint
from potstill.core.progress import OnStep, silent
from potstill.data.real import RealData
from potstill.distilled import DistilledSet
from potstill.evaluation.protocol import Protocol, Setting
from potstill.labels.views import FILE, FORMAT, Header, described, make, pixels_sha256, published_bytes
from potstill.nets.spec import Net
from potstill.nets.store import load_net
from potstill.run import Executor


@dataclass(frozen=True, slots=True)
class Labelling:
    """Stored labels: the file, the views it labels, its bytes, and how many times smaller than as published."""

    file: str
    views: int
    bytes: int
    smaller: float


def label_set(
    folder: Path,
    real: RealData,
    *,
    protocol: Protocol,
    teacher: str | None,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    on: Executor | None = None,
    on_step: OnStep = silent,
) -> Labelling:
    """Stores a teacher's labels of every view that a protocol shows, beside a set's images.

    A killed run goes on with the blocks of epochs that are missing; `on` are the processes that ask the teacher (None:
    this one). Raises PotstillError without a teacher of the set's size.
    """
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
    plan = protocol.plan(setting)
    if teacher is None:
        raise PotstillError("labels need a teacher: name one with --teacher")
    stored = load_net(teacher).narrowed(real.classes)
    if stored.size != distilled.manifest.size:
        raise PotstillError(
            f"the teacher was trained at {stored.size} px, {folder} holds {distilled.manifest.size} px"
        )
    header = Header(
        format=FORMAT,
        images=pixels_sha256(images),
        count=len(images),
        classes=tuple(real.classes.keys),
        teacher=stored.spec.label,
        teacher_sha256=fingerprint([stored.module]),
        seed=seed,
        epochs=plan.training.epochs,
        batch=plan.training.batch,
        changes=described(plan.changes),
    )
    keep = folder / "labels.partial" / header.digest
    asked = images, labels, stored.module, header, plan.changes
    made = make(*asked, keep=keep, device=device, on=on, on_step=on_step)
    made.save(folder)
    shutil.rmtree(folder / "labels.partial", ignore_errors=True)
    views, size = header.epochs * len(images), (folder / FILE).stat().st_size
    return Labelling(str(folder / FILE), views, size, views * published_bytes(len(real.classes)) / size)
