"""Scores beyond accuracy of one set, from trainings that are shared with every other score and call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from potstill.core.errors import PotstillError
from potstill.core.files import sha256
from potstill.core.fingerprint import fingerprint
from potstill.core.progress import OnStep, Step, silent
from potstill.data.real import RealData
from potstill.distilled import DistilledSet
from potstill.distilled.folders import folder_name
from potstill.distilled.set import METADATA
from potstill.evaluation.evaluate import Subject, evaluate
from potstill.evaluation.pool import Pool, Wanted, gather
from potstill.evaluation.protocol import Protocol, Setting
from potstill.evaluation.record import Evaluation
from potstill.evaluation.robustness import WEIGHT, Measured, measure
from potstill.evaluation.student import Labelled
from potstill.labels import LABELLERS
from potstill.methods.random import Random
from potstill.nets.spec import Net
from potstill.nets.store import StoredNet, load_net
from potstill.pipeline import evaluate_set
from potstill.run import distill


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The scores of one set, and the trainings that they are made from, by condition."""

    name: str
    set_seed: int
    data: str
    ipc: int
    protocol: str
    student: str
    teacher: str | None
    weight: float
    scores: tuple[Measured, ...]
    trainings: Mapping[str, Evaluation]


def score_set(
    folder: Path,
    real: RealData,
    *,
    scores: Sequence[str],
    protocol: Protocol,
    student: Net,
    teacher: str | None,
    seeds: Sequence[int],
    pool: Path,
    images_per_class: int | None = None,
    weight: float = WEIGHT,
    device: str = "cpu",
    on_step: OnStep = silent,
) -> Scored:
    """Scores a set by the names of `SCORES`, doing the trainings that are not there yet.

    Trainings on the set are kept beside it, as by `evaluate_set`; those on all real images, and on random real images
    of the set's number, size and seed, in the folder `pool`, which serves any number of sets. Raises PotstillError
    for a protocol that reads stored labels, which random images have not.
    """
    trainer = _Trainer(
        folder=folder,
        real=real,
        student=student,
        teacher=teacher,
        seeds=tuple(seeds),
        pool=pool,
        per_class=images_per_class,
        device=device,
        on_step=on_step,
    )
    setting = trainer.setting
    if LABELLERS[protocol.plan(setting).labels].needs == "file":
        raise PotstillError(
            f"protocol {protocol.label} reads stored labels, which the random images that a set is scored against "
            "have not: name one that asks the teacher"
        )
    kept = Pool(folder=pool, about=trainer.about)
    done = gather(scores, protocol, setting, pool=kept, seeds=seeds, train=trainer.train)
    manifest, first = trainer.distilled.manifest, next(iter(done.values()))
    return Scored(
        name=manifest.name,
        set_seed=manifest.seed,
        data=real.name,
        ipc=trainer.ipc,
        protocol=protocol.label,
        student=first.student,
        teacher=next((one.teacher for one in done.values() if one.teacher), None),
        weight=weight,
        scores=tuple(measure(score, done, weight) for score in scores),
        trainings={condition.label: evaluation for condition, evaluation in done.items()},
    )


@dataclass(frozen=True, kw_only=True)
class _Trainer:
    """Does trainings for one set and tells what decides them; what is slow to find out is found out once."""

    folder: Path
    real: RealData
    student: Net
    teacher: str | None
    seeds: tuple[int, ...]
    pool: Path
    per_class: int | None
    device: str
    on_step: OnStep

    @cached_property
    def distilled(self) -> DistilledSet:
        whole = DistilledSet.load(self.folder)
        return whole.first(self.per_class or whole.manifest.images_per_class)

    @property
    def ipc(self) -> int:
        return self.per_class or self.distilled.manifest.images_per_class

    @property
    def setting(self) -> Setting:
        return Setting(
            student=self.student,
            images=len(self.distilled.records) * self.distilled.manifest.parts**2,
            classes=len(self.real.classes),
            size=self.distilled.manifest.size,
            mirror=self.real.mirror,
        )

    @cached_property
    def judge(self) -> StoredNet | None:
        return load_net(self.teacher) if self.teacher else None

    @cached_property
    def judge_print(self) -> str | None:
        return fingerprint([self.judge.module]) if self.judge else None

    def about(self, wanted: Wanted) -> Mapping[str, Any]:
        """All that decides a training beside its protocol; the teacher only where it is asked."""
        manifest = self.distilled.manifest
        images = {
            "set": [self.ipc, sha256(self.folder / METADATA)],
            "random": [self.ipc, manifest.seed] + ([manifest.parts] if manifest.parts > 1 else []),
            "full": [],
        }
        return {
            "images": [wanted.condition.images, manifest.size, *images[wanted.condition.images]],
            "data": self.real.fingerprint,
            "student": self.student.short,
            "teacher": self.judge_print if wanted.taught else None,
            "versions": [version("potstill"), version("torch")],
        }

    def train(self, wanted: Wanted) -> Evaluation:
        """Does one training, or reads it where `evaluate` has finished it before."""
        if wanted.condition.images == "set":
            return evaluate_set(
                self.folder,
                self.real,
                protocol=wanted.protocol,
                student=self.student,
                teacher=self.teacher,
                seeds=self.seeds,
                images_per_class=self.per_class,
                device=self.device,
                on_step=self._heard(wanted),
            )
        if wanted.condition.images == "random":
            drawn = self._random()
            return self._judged(
                wanted, (drawn.images(), drawn.labels(self.real.classes.keys)), self.setting.images
            )
        train = self.real.train
        pixels = train.pixels(None, self.distilled.manifest.size)
        return self._judged(wanted, (pixels, train.labels), len(train))

    def _random(self) -> DistilledSet:
        manifest = self.distilled.manifest
        name = f"random-{folder_name(self.real.name)}-{self.real.fingerprint[:8]}-ipc{self.ipc}-seed{manifest.seed}"
        return distill(
            Random(size=manifest.size),
            self.real,
            self.pool / "sets" / f"{name}-{manifest.size}px",
            name="random",
            images_per_class=self.ipc,
            seed=manifest.seed,
            on_step=self.on_step,
        )

    def _judged(self, wanted: Wanted, train: Labelled, planned: int) -> Evaluation:
        setting = replace(self.setting, images=planned)
        side = wanted.protocol.plan(setting).test_side
        kind = wanted.condition.images
        kept = Pool(folder=self.pool / "partial", about=self.about).file(wanted)
        return evaluate(
            train,
            (self.real.test.pixels(None, side), self.real.test.labels),
            subject=Subject(
                name="full data" if kind == "full" else kind,
                method=kind,
                data=self.real.name,
                data_sha256=self.real.fingerprint,
                set_seed=0 if kind == "full" else self.distilled.manifest.seed,
            ),
            protocol=wanted.protocol,
            planned=planned,
            student=self.student,
            classes=self.real.classes,
            seeds=self.seeds,
            mirror=self.real.mirror,
            teacher=self.judge if wanted.taught else None,
            partial=kept,
            device=self.device,
            on_step=self._heard(wanted),
        )

    def _heard(self, wanted: Wanted) -> OnStep:
        def listen(step: Step) -> None:
            self.on_step(replace(step, stage=wanted.condition.label))

        return listen
