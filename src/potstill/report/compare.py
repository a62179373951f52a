"""Saved evaluations put side by side: who was judged alike, what each reached, who beats whom."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from potstill.core.errors import PotstillError, unknown
from potstill.core.seeds import generator
from potstill.evaluation.record import Evaluation
from potstill.evaluation.statistics import (
    LEVEL,
    Bounds,
    Difference,
    accuracy_interval,
    bootstrap,
    by_set,
    deviation,
    holm,
    interval,
    mean,
    paired,
    paired_sets,
)

Intervals = Literal["t", "bootstrap"]
"""How the intervals of differences are made: by Student's t, or by a BCa bootstrap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One name under one protocol; accuracies are fractions.

    `sets` holds each set's mean over its students, by set seed; `students` the accuracies of a lone set's
    students, by student seed. Mean, deviation and interval are of sets where there are several, else of the
    lone set's students. `best` is the mean of best looks at the test images (`Run.best`), where all have them.
    """

    name: str
    method: str
    sets: Mapping[int, float]
    students: Mapping[int, float]
    runs: int
    best: float | None = None

    @property
    def unit(self) -> str:
        """What is counted: "sets" or "students"."""
        return "students" if self.students else "sets"

    @property
    def values(self) -> tuple[float, ...]:
        """The numbers that are counted."""
        return tuple((self.students or self.sets).values())

    @property
    def mean(self) -> float:
        """Their mean."""
        return mean(self.values)

    @property
    def deviation(self) -> float | None:
        """Their sample deviation; None for one value."""
        return deviation(self.values)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of their mean, cut to what an accuracy can be; None for one value."""
        return accuracy_interval(self.values)


@dataclass(frozen=True, slots=True)
class Versus:
    """One row minus another, and what was paired: "sets", or the "students" of one set each.

    `corrected` is the difference's p-value after a correction for the comparisons made beside it, None where it
    stands alone.
    """

    difference: Difference
    unit: str
    corrected: float | None = None

    @property
    def verdict(self) -> str:
        """In words: gain, loss, no gain (the interval includes zero), or undecided (it has none).

        A gain or loss that the correction does not let stand is one "before correction".
        """
        low, high = self.difference.low, self.difference.high
        if low is None or high is None:
            return "undecided"
        if low <= 0 <= high:
            return "no gain"
        word = "gain" if low > 0 else "loss"
        stands = self.corrected is None or self.corrected <= 1 - LEVEL
        return word if stands else f"{word} before correction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All rows judged under the same protocol, student, teacher, data and number of images."""

    data: str
    ipc: int
    protocol: str
    student: str
    teacher: str | None
    settings: Mapping[str, Any]
    rows: tuple[Row, ...]

    @property
    def caption(self) -> str:
        """What the rows share, as one line; what was changed in the protocol is spelled out."""
        teacher = f"; teacher {self.teacher}" if self.teacher else ""
        changes = ", ".join(f"{name} = {json.dumps(value)}" for name, value in self.settings.items())
        note = f" (changed: {changes})" if changes else ""
        images = "1 image" if self.ipc == 1 else f"{self.ipc} images"
        judge = f"protocol {self.protocol}{note}; student {self.student}{teacher}"
        return f"{self.data}, {images} per class; {judge}"

    def row(self, name: str) -> Row:
        """The row of a name; raises PotstillError for one that is not among them."""
        for row in self.rows:
            if row.name == name:
                return row
        raise unknown("evaluated name", name, [row.name for row in self.rows], self.caption)

    def reference(self) -> Row | None:
        """The row of random real images, where there is one."""
        return next((row for row in self.rows if row.method == "random"), None)


def compare(evaluations: Iterable[Evaluation]) -> tuple[Comparison, ...]:
    """Groups evaluations that may be compared; groups in a fixed order, rows by name, whatever order came in.

    Teachers and data of one name are told apart by their hashes, where there are several; an evaluation from before
    these were recorded joins the only one. Where the same students of a set were saved with looks at the test images
    and without, the evaluation with more students counts, else the one with looks. Raises PotstillError where two
    different evaluations claim the same name, set seed and protocol.
    """
    groups: dict[str, list[Evaluation]] = {}
    for one in evaluations:
        alike = [one.data, one.ipc, one.protocol, one.student, one.teacher, dict(one.settings)]
        held = groups.setdefault(json.dumps(alike, sort_keys=True), [])
        if one not in held:
            held.append(one)
    ordered = sorted(groups.items(), key=lambda item: (item[1][0].data, item[1][0].ipc, item[0]))
    return tuple(_comparison(_once(part)) for _, held in ordered for part in _told_apart(held))


def _told_apart(held: Sequence[Evaluation]) -> list[list[Evaluation]]:
    """The evaluations by teacher and data, which are named with their hashes where there are several of a name."""
    teachers, data = (
        {getattr(one, hashed) for one in held} - {None} for hashed in ("teacher_sha256", "data_sha256")
    )
    parts: dict[tuple[str, str], list[Evaluation]] = {}
    for one in held:
        teacher, source = (
            _marked(one.teacher, one.teacher_sha256, teachers),
            _marked(one.data, one.data_sha256, data),
        )
        parts.setdefault((source or "", teacher or ""), []).append(
            replace(one, teacher=teacher, data=source or "")
        )
    return [parts[key] for key in sorted(parts)]


def _marked(name: str | None, sha256: str | None, known: Collection[str]) -> str | None:
    return name if len(known) < 2 or name is None else f"{name} ({sha256[:8] if sha256 else 'unknown'})"


def _once(held: Sequence[Evaluation]) -> list[Evaluation]:
    """The evaluations without those whose students another one holds, one of the two with looks and one without."""
    kept: list[Evaluation] = []
    for one in sorted(held, key=lambda one: (len(one.runs), one.best is not None), reverse=True):
        if not any(_holds(other, one) for other in kept):
            kept.append(one)
    return [one for one in held if one in kept]


def _holds(other: Evaluation, one: Evaluation) -> bool:
    """Whether the same students of the same set are in both, looks and time aside."""
    if (other.name, other.set_seed) != (one.name, one.set_seed) or (other.best is None) == (one.best is None):
        return False
    theirs = {run.seed: (run.accuracy, run.top5, run.train_loss) for run in other.runs}
    return all(theirs.get(run.seed) == (run.accuracy, run.top5, run.train_loss) for run in one.runs)


def differences(rows: Iterable[Row], baseline: Row, intervals: Intervals = "t") -> dict[str, Versus | None]:
    """Every row minus `baseline`, by name, with p-values corrected by Holm for the number of these differences.

    None where a row has no set in common with `baseline`; the baseline itself is left out.
    """
    found = {row.name: versus(row, baseline, intervals) for row in rows if row.name != baseline.name}
    tested = {name: one.difference.p for name, one in found.items() if one is not None}
    known = {name: p for name, p in tested.items() if p is not None}
    corrected = dict(zip(known, holm(tuple(known.values())), strict=True))
    return {name: one and replace(one, corrected=corrected.get(name)) for name, one in found.items()}


def versus(row: Row, baseline: Row, intervals: Intervals = "t") -> Versus | None:
    """`row` minus `baseline`, paired by set seed; by student seed where each has one set, of one seed.

    None where the two have no set in common. Sets that only one of them has are left out.
    """
    bounds = _bounds(intervals, row.name, baseline.name)
    common = sorted(row.sets.keys() & baseline.sets.keys())
    shared = sorted(row.students.keys() & baseline.students.keys())
    if not common:
        return None
    if shared:
        students = paired(
            [row.students[seed] for seed in shared],
            [baseline.students[seed] for seed in shared],
            bounds=bounds,
        )
        return Versus(students, "students")
    sets = paired_sets(
        {seed: row.sets[seed] for seed in common},
        {seed: baseline.sets[seed] for seed in common},
        bounds=bounds,
    )
    return Versus(sets, "sets")


def _bounds(intervals: Intervals, *names: str) -> Bounds:
    if intervals == "t":
        return interval
    return partial(bootstrap, generator=generator("bootstrap", *names))


def _comparison(held: Sequence[Evaluation]) -> Comparison:
    first = held[0]
    names = sorted({one.name for one in held})
    return Comparison(
        data=first.data,
        ipc=first.ipc,
        protocol=first.protocol,
        student=first.student,
        teacher=first.teacher,
        settings=dict(first.settings),
        rows=tuple(_row([one for one in held if one.name == name]) for name in names),
    )


def _row(held: Sequence[Evaluation]) -> Row:
    seeds = [one.set_seed for one in held]
    for seed in seeds:
        if seeds.count(seed) > 1:
            raise PotstillError(
                f"two different evaluations of {held[0].name!r}, set seed {seed}, under {held[0].protocol}: "
                "give one of the sets another name, or leave one out"
            )
    lone = held[0] if len(held) == 1 else None
    looks = [one.best for one in held if one.best is not None]
    return Row(
        name=held[0].name,
        method=held[0].method,
        sets=by_set((one.set_seed, one.accuracies) for one in held),
        students={run.seed: run.accuracy for run in lone.runs} if lone else {},
        runs=sum(len(one.runs) for one in held),
        best=mean(looks) if len(looks) == len(held) else None,
    )
