"""Trains students on a set, tests each once, and keeps finished ones so that a killed evaluation goes on."""

import functools
import hashlib
import itertools
import json
import operator
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from potstill.core.errors import PotstillError
from potstill.core.files import read_json, write_json
from potstill.core.fingerprint import fingerprint
from potstill.core.progress import OnStep, silent
from potstill.core.settings import from_plain, to_plain
from potstill.data.real import Classes
from potstill.evaluation.protocol import Plan, Protocol, Setting
from potstill.evaluation.record import Evaluation, Run
from potstill.evaluation.student import Labelled, hits, train_student
from potstill.evaluation.together import Check, at_once, side_by_side
from potstill.labels import LABELLERS, Labeller
from potstill.labels.views import ViewLabels
from potstill.nets.spec import Net
from potstill.nets.store import StoredNet


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is evaluated, for the record: a recipe's name, its method, the data set and the set's seed.

    `data_sha256` is the data's fingerprint; `tiles` is how many training images an image of the set is made of.
    """

    name: str
    method: str
    data: str
    set_seed: int
    data_sha256: str | None = None
    tiles: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The contents of a partial file: what was evaluated, as a hash, the students that are done, and `judge_print`."""

    fingerprint: str
    runs: tuple[Run, ...] = ()
    judge: str | None = None

    @property
    def in_order(self) -> tuple[Run, ...]:
        """The students by seed."""
        return tuple(sorted(self.runs, key=lambda run: run.seed))

    @classmethod
    def load(cls, file: Path) -> "Finished":
        """Reads a partial file; raises PotstillError that names it where it is malformed."""
        return from_plain(cls, read_json(file), str(file))


def evaluate(
    train: Labelled,
    test: Labelled,
    *,
    subject: Subject,
    protocol: Protocol,
    student: Net,
    classes: Classes,
    seeds: Sequence[int],
    mirror: bool,
    planned: int | None = None,
    teacher: StoredNet | None = None,
    stored: ViewLabels | None = None,
    habit: bool = False,
    partial: Path | None = None,
    judge: str | None = None,
    device: torch.device | str = "cpu",
    on_step: OnStep = silent,
) -> Evaluation:
    """Trains one student a seed on `train` and tests each on `test`, once, after its last epoch.

    Test images may be larger than the training images (see `Plan.test_side`); their centre is taken. The protocol plans
    for `planned` images, by default those of `train`. A teacher of more classes is narrowed to these, in their order;
    `stored` are the labels of a protocol that reads them. `habit` also tests when the protocol's source does and keeps
    the best, which is no honest number as it chooses on the test images. `partial` is a JSON file that keeps finished
    students, and `judge`: the same call after an interruption goes on with the first one missing and gives the same
    numbers (other than seconds), and a call with more seeds adds to it. `on_step` counts epochs over all students.
    Raises PotstillError where images, labels, classes and teacher do not fit each other, where a teacher or stored
    labels are needed and missing, and where `partial` can't be written or belongs to another evaluation.
    """
    for name, part in (("train", train), ("test", test)):
        _check(name, *part, len(classes))
    size = train[0].shape[-1]
    images, told = planned or len(train[0]), {"student": student, "classes": len(classes)}
    plan = protocol.plan(Setting(**told, images=images, size=size, mirror=mirror))
    asked = _fitting(teacher, plan, protocol, classes, size)
    labeller = _labeller(plan, protocol, asked.to(device).module if asked else None, stored)
    middle = centre(test[0], size), test[1]
    trained = functools.partial(train_student, train, **told, plan=plan, labeller=labeller, device=device)
    run = functools.partial(_run, trained, middle, plan.looks if habit else None)
    read = stored.fingerprint if stored else None
    settings = {"plan": plan, "student": student, "classes": classes.keys, "habit": habit, "stored": read}
    teacher_sha256 = fingerprint([asked.module]) if asked else None
    identity = (*train, *middle), settings, teacher_sha256
    begun = Finished(fingerprint=_identity(*identity) if partial else "", judge=judge)
    return Evaluation(
        name=subject.name,
        set_seed=subject.set_seed,
        method=subject.method,
        data=subject.data,
        ipc=round(len(train[0]) / len(classes) / subject.tiles),
        protocol=protocol.label,
        student=student.label,
        teacher=asked.spec.label if asked else stored.teacher if stored else None,
        runs=_each(seeds, run, partial, begun, plan.training.epochs, at_once(device), on_step),
        settings=protocol.overrides,
        versions=_versions() | {"device": _device(device)},
        teacher_sha256=stored.header.teacher_sha256 if stored else teacher_sha256,
        data_sha256=subject.data_sha256,
    )


def _run(
    trained: Callable[..., tuple[nn.Module, float]],
    test: Labelled,
    looks: Sequence[int] | None,
    seed: int,
    listen: OnStep,
    check: Check,
) -> Run:
    started = time.perf_counter()
    seen: list[float] = []

    def look(epoch: int, module: nn.Module) -> None:
        if looks and epoch in looks:
            seen.append(hits(module, *test)[0])

    module, loss = trained(seed=seed, check=check, after_epoch=look if looks else None, on_step=listen)
    accuracy, top5 = hits(module, *test)
    seconds = time.perf_counter() - started
    best = None if looks is None else max([*seen, accuracy])
    return Run(seed=seed, accuracy=accuracy, top5=top5, seconds=seconds, train_loss=loss, best=best)


def centre(images: Tensor, size: int) -> Tensor:
    """The middle `size` px square of images [n, 3, t, t]; raises PotstillError where they are smaller."""
    side = images.shape[-1]
    if side < size:
        raise PotstillError(f"test images of {side} px are smaller than the training images of {size} px")
    first = round((side - size) / 2)
    return images[:, :, first : first + size, first : first + size]


def _each(
    seeds: Sequence[int],
    run: Callable[[int, OnStep, Check], Run],
    partial: Path | None,
    begun: Finished,
    epochs: int,
    threads: int,
    on_step: OnStep,
) -> tuple[Run, ...]:
    """The runs of all seeds, in their order; those in `partial` are taken from there, new ones go there."""
    seeds = [*map(operator.index, seeds)]
    if not seeds or len(set(seeds)) < len(seeds):
        raise PotstillError(f"an evaluation needs student seeds, each once, not {list(seeds)}")
    runs = {done.seed: done for done in _finished(partial, begun)}
    missing = [seed for seed in seeds if seed not in runs]
    first = (len(seeds) - len(missing)) * epochs

    def save() -> None:
        if partial is not None:
            others = {done.seed: done for done in _finished(partial, begun)}  # of a process beside this one
            runs.update({seed: done for seed, done in others.items() if seed not in runs})
            write_json(partial, to_plain(replace(begun, runs=tuple(runs.values()))))

    def keep(done: Run) -> None:
        runs[done.seed] = done
        save()

    def job(seed: int, listen: OnStep, check: Check) -> Run:
        return run(seed, _named(listen, seeds.index(seed) + 1), check)

    save()  # where it can't be, that is known before anything is trained
    side_by_side(
        [functools.partial(job, seed) for seed in missing],
        threads=threads,
        keep=keep,
        on_step=_counted(on_step, first, len(seeds) * epochs),
    )
    return tuple(runs[seed] for seed in seeds)


def _finished(partial: Path | None, begun: Finished) -> tuple[Run, ...]:
    if partial is None or not partial.exists():
        return ()
    kept = Finished.load(partial)
    if kept.runs and kept.fingerprint != begun.fingerprint:
        other = "" if kept.judge else ", teacher, data or habit"
        raise PotstillError(
            f"{partial} holds students of another evaluation: images, settings or versions{other} differ; delete it "
            "to begin anew"
        )
    return kept.runs


def _named(listen: OnStep, student: int) -> OnStep:
    return lambda step: listen(replace(step, scalars={**step.scalars, "student": student}))


def _counted(on_step: OnStep, done: int, total: int) -> OnStep:
    numbers = itertools.count(done + 1)
    return lambda step: on_step(replace(step, stage="evaluate", index=next(numbers), total=total))


def _check(name: str, images: Tensor, labels: Tensor, classes: int) -> None:
    allowed = [torch.uint8, torch.float32] if name == "train" else [torch.uint8]
    if images.dtype not in allowed or images.ndim != 4 or images.shape[1:] != (3, *images.shape[-1:] * 2):
        found = f"{images.dtype} {list(images.shape)}"
        raise PotstillError(
            f"{name} images must be {' or '.join(map(str, allowed))} [n, 3, s, s], not {found}"
        )
    if not len(images) or len(labels) != len(images):
        raise PotstillError(
            f"{name} needs as many labels as images and some, not {len(labels)}, {len(images)}"
        )
    low, high = labels.min().item(), labels.max().item()
    if low < 0 or high >= classes:
        raise PotstillError(f"{name} labels must be in 0..{classes - 1}, found {low}..{high}")


def _fitting(
    teacher: StoredNet | None, plan: Plan, protocol: Protocol, classes: Classes, size: int
) -> StoredNet | None:
    if LABELLERS[plan.labels].needs != "teacher":
        return None
    if teacher is None:
        raise PotstillError(f"protocol {protocol.label} needs a teacher and none was given")
    if teacher.size != size:
        raise PotstillError(
            f"the teacher was trained at {teacher.size} px, the images to label have {size} px: make the set at "
            "the teacher's size, or name a teacher of the set's"
        )
    return teacher if teacher.classes.keys == classes.keys else teacher.narrowed(classes)


def _labeller(
    plan: Plan, protocol: Protocol, teacher: nn.Module | None, stored: ViewLabels | None
) -> Labeller:
    kind = LABELLERS[plan.labels]
    if kind.needs != "file":
        return kind(teacher, plan.temperature)
    if stored is None:
        raise PotstillError(
            f"protocol {protocol.label} reads stored labels and the set has none: run `potstill label` first"
        )
    stored.check(batch=plan.training.batch, epochs=plan.training.epochs, changes=plan.changes)
    return kind(stored, plan.temperature)


def judge_print(teacher: StoredNet | None, stored: ViewLabels | None, data: str, habit: bool) -> str:
    """A short hash of who judges a set: the teacher, now or when labels were stored, the data, and the habit."""
    told = [fingerprint([teacher.module]), teacher.classes.keys] if teacher else None
    told = stored.header.teacher_sha256 if stored else told
    return hashlib.sha256(json.dumps([told, data, habit]).encode()).hexdigest()[:8]


def _identity(tensors: Sequence[Tensor], settings: Mapping[str, Any], teacher_sha256: str | None) -> str:
    described = json.dumps(to_plain({**settings, "versions": _versions()}), sort_keys=True)
    digest = hashlib.sha256(described.encode())
    for tensor in tensors:
        digest.update(f"{tensor.dtype}:{list(tensor.shape)}".encode())
        array: Any = tensor.cpu().contiguous().numpy()
        digest.update(array)
    if teacher_sha256 is not None:
        digest.update(teacher_sha256.encode())
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    return {
        "potstill": version("potstill"),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _device(device: torch.device | str) -> str:
    kind = torch.device(device)
    if kind.type == "cuda":
        return torch.cuda.get_device_name(kind)
    return f"{kind.type}, 1 thread a student"
