"""Which trainings are needed, and that each is done once."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from potstill.core.errors import PotstillError
from potstill.evaluation import PROTOCOLS
from potstill.evaluation.pool import Pool, Wanted, gather, hard_twin, trainings, without_augmentation
from potstill.evaluation.protocol import Protocol, Setting
from potstill.evaluation.record import Evaluation, Run
from potstill.evaluation.robustness import SCORES
from potstill.nets.spec import Net

SETTING = Setting(student=Net(width=8), images=20, classes=10, size=32, mirror=False)
RDED, HARD = PROTOCOLS["rded@1"], PROTOCOLS["hard@1"]


class Trainer:
    """Counts what it is asked to train, and answers with numbers that tell trainings apart."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds, self.asked = seeds, []

    def __call__(self, wanted: Wanted) -> Evaluation:
        self.asked.append(f"{wanted.condition.label}; {wanted.protocol.label}")
        runs = tuple(
            Run(seed=seed, accuracy=0.1 * len(self.asked), top5=1.0, seconds=1.0, train_loss=0.1)
            for seed in self.seeds
        )
        return Evaluation(
            name="a",
            set_seed=0,
            method="m",
            data="d",
            ipc=2,
            protocol=wanted.protocol.label,
            student="s",
            teacher=None,
            runs=runs,
        )


def pool(folder: Path, **about: Any) -> Pool:
    return Pool(
        folder=folder,
        about=lambda wanted: {
            "images": wanted.condition.images,
            "teacher": "t" if wanted.taught else None,
            **about,
        },
    )


def asked(
    folder: Path, *scores: str, protocol: Protocol = RDED, seeds: Sequence[int] = (0, 1), **about: Any
) -> list[str]:
    trainer = Trainer(seeds)
    found = gather(scores, protocol, SETTING, pool=pool(folder, **about), seeds=seeds, train=trainer)
    assert set(found) == {condition for score in scores for condition in SCORES[score].needs}
    return trainer.asked


@pytest.mark.parametrize(
    ("scores", "count"),
    [(("hlr",), 2), (("ior",), 2), (("lrs",), 4), (("ars",), 4), (("lrs", "ars", "hlr", "ior"), 6)],
)
def test_scores_share_trainings(scores: tuple[str, ...], count: int, tmp_path: Path) -> None:
    assert len(asked(tmp_path, *scores)) == count


def test_all_four_scores_cost_six_trainings_and_later_calls_none(tmp_path: Path) -> None:
    assert asked(tmp_path, "lrs", "ars", "hlr", "ior") == [
        "set; rded@1",
        "random; rded@1",
        "set, hard labels; hard@1",
        "full, hard labels; hard@1",
        "set, no augmentation; rded@1*",
        "random, no augmentation; rded@1*",
    ]
    assert asked(tmp_path, "lrs", "ars") == []
    assert asked(tmp_path, "ars", seeds=[1]) == []
    assert len(asked(tmp_path, "ior", seeds=[1, 2])) == 2


def test_under_hard_labels_the_set_is_trained_on_once(tmp_path: Path) -> None:
    assert asked(tmp_path, "lrs", protocol=HARD) == [
        "set; hard@1",
        "random; hard@1",
        "full, hard labels; hard@1",
    ]


def test_what_decides_a_training_is_in_its_key(tmp_path: Path) -> None:
    assert len(asked(tmp_path, "ior")) == 2
    assert len(asked(tmp_path, "ior", student="another")) == 2
    assert len(asked(tmp_path, "ior", protocol=RDED.scaled({"training.epochs": 3}))) == 2
    assert len(asked(tmp_path, "hlr", protocol=PROTOCOLS["dc@1"])) == 2
    assert len(asked(tmp_path, "hlr", protocol=HARD)) == 2
    wanted = trainings(["lrs"], RDED, SETTING)
    assert [one.taught for one in wanted] == [True, True, False, False]


def test_students_are_those_asked_for_whatever_the_folder_holds(tmp_path: Path) -> None:
    (wanted,) = trainings(["hlr"], HARD, SETTING)[:1]
    held = pool(tmp_path)

    def seeds(*asked: int) -> list[int]:
        return [run.seed for run in held.get(wanted, asked, Trainer(asked)).runs]

    assert seeds(0, 1, 2) == [0, 1, 2] and seeds(5, 6) == [5, 6]
    never = Trainer(())
    assert [run.seed for run in held.get(wanted, (6, 0), never).runs] == [6, 0] and not never.asked


def test_the_same_bits_come_back_from_the_folder(tmp_path: Path) -> None:
    trainer = Trainer([0])
    first = gather(["lrs"], RDED, SETTING, pool=pool(tmp_path), seeds=[0], train=trainer)
    assert gather(["lrs"], RDED, SETTING, pool=pool(tmp_path), seeds=[0], train=trainer) == first
    assert len({one.mean for one in first.values()}) == 4


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("images", [10, 100, 500])
def test_twins_and_plain_forms_change_nothing_else(name: str, images: int) -> None:
    protocol = PROTOCOLS[name]
    setting = replace(SETTING, images=images)
    plan = protocol.plan(setting)
    twin = hard_twin(protocol, setting).plan(setting)
    assert (twin.labels, twin.training, twin.changes) == ("hard", plan.training, plan.changes)
    assert twin.norm_momentum == plan.norm_momentum and twin.test_side == plan.test_side
    plain = without_augmentation(protocol).plan(setting)
    assert (plain.changes, plain.labels, plain.training) == ((), plan.labels, plan.training)


def test_a_training_without_the_seeds_asked_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="on set did not give students of all seeds"):
        gather(["ior"], RDED, SETTING, pool=pool(tmp_path), seeds=[0, 1], train=Trainer([0]))


def test_unknown_scores_are_named(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="unknown score 'lsr'.*Did you mean 'lrs'"):
        asked(tmp_path, "lsr")
