"""The trainings that scores need, each done once: by the scores of one call, and by all calls of one folder."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from potstill.core.errors import PotstillError, unknown
from potstill.core.settings import to_plain
from potstill.evaluation import PROTOCOLS
from potstill.evaluation.protocol import Protocol, Setting
from potstill.evaluation.record import Evaluation
from potstill.evaluation.robustness import SCORES, Condition
from potstill.labels import LABELLERS

TWINS: Mapping[str, str] = {"rded@1": "hard@1"}
"""Protocols that have a named twin with hard labels, so that trainings under that name are shared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A training to be done: on which images, and under which protocol, its changes included.

    `taught` says whether the protocol asks a teacher.
    """

    condition: Condition
    protocol: Protocol
    taught: bool


Train = Callable[[Wanted], Evaluation]
"""Does a training, for all student seeds that were asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A folder of finished trainings: `Evaluation`s under names made from all that decides them.

    `about` tells, as plain values, what decides a training beside its protocol: images, student, teacher, versions.
    """

    folder: Path
    about: Callable[[Wanted], Mapping[str, Any]]

    def file(self, wanted: Wanted) -> Path:
        """Where a training is kept."""
        identity = [to_plain(self.about(wanted)), wanted.protocol.label, to_plain(wanted.protocol.overrides)]
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{wanted.condition.images}-{digest[:16]}.json"

    def get(self, wanted: Wanted, seeds: Sequence[int], train: Train) -> Evaluation:
        """The training's students of these seeds: from the folder where all are in it, else trained now and kept.

        Raises PotstillError where `train` leaves a seed out.
        """
        file = self.file(wanted)
        held = Evaluation.load(file) if file.exists() else None
        runs = {run.seed: run for run in held.runs} if held else {}
        if held is None or not set(seeds) <= runs.keys():
            held = train(wanted)
            runs |= {run.seed: run for run in held.runs}
            if not set(seeds) <= runs.keys():
                raise PotstillError(
                    f"training on {wanted.condition.label} did not give students of all seeds"
                )
            replace(held, runs=tuple(runs[seed] for seed in sorted(runs))).save(file)
        return replace(held, runs=tuple(runs[seed] for seed in seeds))


def gather(
    scores: Sequence[str],
    protocol: Protocol,
    setting: Setting,
    *,
    pool: Pool,
    seeds: Sequence[int],
    train: Train,
) -> dict[Condition, Evaluation]:
    """All trainings that the scores need, by condition, from the pool where it has them.

    `setting` is that of the distilled set. Each training is done once, also where two conditions come to the same,
    as hard and own labels do under a protocol of hard labels.
    """
    wanted = trainings(scores, protocol, setting)
    return {one.condition: pool.get(one, seeds, train) for one in wanted}


def trainings(scores: Sequence[str], protocol: Protocol, setting: Setting) -> list[Wanted]:
    """The trainings of all scores together, each condition once; raises PotstillError for an unknown score."""
    for score in scores:
        if score not in SCORES:
            raise unknown("score", score, SCORES)
    conditions = dict.fromkeys(one for score in scores for one in SCORES[score].needs)
    return [_wanted(condition, protocol, setting) for condition in conditions]


def _wanted(condition: Condition, protocol: Protocol, setting: Setting) -> Wanted:
    chosen = hard_twin(protocol, setting) if condition.labels == "hard" else protocol
    chosen = chosen if condition.augmented else without_augmentation(chosen)
    taught = LABELLERS[chosen.plan(setting).labels].needs != "nothing"
    return Wanted(condition=condition, protocol=chosen, taught=taught)


def hard_twin(protocol: Protocol, setting: Setting) -> Protocol:
    """The protocol told classes alone: itself where it is, its named twin, or itself with labels overridden."""
    if protocol.plan(setting).labels == "hard":
        return protocol
    name = f"{protocol.name}@{protocol.version}"
    if name in TWINS:
        return PROTOCOLS[TWINS[name]].scaled(protocol.overrides)
    return protocol.scaled({"labels": "hard", "temperature": None})


def without_augmentation(protocol: Protocol) -> Protocol:
    """The protocol with batches shown as they are: neither moved, nor coloured, nor mixed."""
    return protocol.scaled({"changes": []})
