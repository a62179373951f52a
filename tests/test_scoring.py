"""Scores of real sets from real students of two epochs: which trainings are done, and where they are kept."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from potstill.core.errors import PotstillError
from potstill.core.progress import Step
from potstill.core.seeds import generator
from potstill.data import load
from potstill.data.real import RealData
from potstill.evaluation import PROTOCOLS
from potstill.evaluation.protocol import Plan, Protocol, Setting
from potstill.evaluation.record import Evaluation
from potstill.evaluation.robustness import unit_score
from potstill.methods.random import Random
from potstill.nets.spec import Net, build
from potstill.nets.store import load_net, save_net
from potstill.run import distill
from potstill.scoring import Scored, score_set

SHORT = PROTOCOLS["rded@1"].scaled({"training.epochs": 2})


@pytest.fixture(scope="module")
def real() -> RealData:
    """Digits of three classes, 40 to train and 20 to test on each."""
    whole = load("digits", classes="0,1,7")
    parts = {
        "train": torch.cat([whole.train.of_class(label)[:40] for label in range(3)]),
        "test": torch.cat([whole.test.of_class(label)[:20] for label in range(3)]),
    }
    return replace(whole, train=whole.train.take(parts["train"]), test=whole.test.take(parts["test"]))


@pytest.fixture
def made(real: RealData, tmp_path: Path) -> Path:
    """The set to be scored, itself random images but of another seed than the baseline's."""
    folder = tmp_path / "set"
    distill(Random(), real, folder, name="mine", images_per_class=3, seed=1)
    return folder


def scored(
    folder: Path, real: RealData, scores: str, heard: list[str] | None = None, **changes: Any
) -> Scored:
    def listen(step: Step) -> None:
        if heard is not None and step.stage not in ("read", "distill"):
            heard.append(step.stage)

    settings: dict[str, Any] = {
        "protocol": SHORT,
        "student": Net(width=4),
        "teacher": "digits/teacher",
        "seeds": [0, 1],
        "pool": folder.parent / "pool",
        "on_step": listen,
    }
    return score_set(folder, real, scores=scores.split(","), **(settings | changes))


def test_every_score_from_six_trainings_each_done_once(made: Path, real: RealData) -> None:
    heard: list[str] = []
    found = scored(made, real, "lrs,ars,hlr,ior", heard)
    assert {stage: heard.count(stage) for stage in heard} == dict.fromkeys(found.trainings, 4)
    assert len(found.trainings) == 6
    again: list[str] = []
    assert scored(made, real, "ars,ior", again).scores == (found.scores[1], found.scores[3])
    assert again == []
    by_name = {one.score: one for one in found.scores}
    trainings = {
        name: dict(zip((0, 1), one.accuracies, strict=True)) for name, one in found.trainings.items()
    }
    for seed in (0, 1):
        recovery = trainings["full, hard labels"][seed] - trainings["set, hard labels"][seed]
        improvement = trainings["set"][seed] - trainings["random"][seed]
        plain = trainings["set, no augmentation"][seed] - trainings["random, no augmentation"][seed]
        assert by_name["hlr"].values[seed] == recovery
        assert by_name["ior"].values[seed] == improvement
        assert by_name["lrs"].values[seed] == pytest.approx(unit_score((improvement - recovery) / 2))
        assert by_name["ars"].values[seed] == pytest.approx(unit_score((improvement + plain) / 2))


def test_trainings_on_the_set_lie_beside_it_and_others_serve_the_next_set(made: Path, real: RealData) -> None:
    first = scored(made, real, "ior,hlr")
    kept = [Evaluation.load(file) for file in (made / "evaluations").glob("*.json")]
    beside = [first.trainings[name] for name in ("set", "set, hard labels")]
    assert sorted(kept, key=lambda one: one.protocol) == sorted(beside, key=lambda one: one.protocol)
    other = made.parent / "other"
    distill(Random(size=32), real, other, name="other", images_per_class=3, seed=1)
    heard: list[str] = []
    second = scored(other, real, "ior,hlr", heard)
    assert set(heard) <= {"set", "set, hard labels"}
    assert second.trainings["full, hard labels"] == first.trainings["full, hard labels"]
    assert first.trainings["full, hard labels"].ipc == 40 and first.trainings["random"].ipc == 3


def test_random_images_are_drawn_by_the_seed_of_the_set(made: Path, real: RealData) -> None:
    """The set is random images of seed 1, so that it gains nothing over the baseline, exactly."""
    found = scored(made, real, "ior")
    assert set(found.scores[0].values.values()) == {0.0}


def test_random_images_have_the_plan_of_a_set_of_mosaics(made: Path, real: RealData) -> None:
    """Nine images of four tiles each are planned for as 36, and so are the nine random ones."""

    def rule(setting: Setting) -> Plan:
        plan = PROTOCOLS["hard@1"].plan(setting)
        return replace(plan, training=replace(plan.training, epochs=setting.images // 9))

    file = made / "potstill.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"parts": 2}))
    heard: list[str] = []
    protocol = Protocol(name="counted", version=1, rule=rule, students=("convnet-3",))
    scored(made, real, "ior", heard, protocol=protocol, seeds=[0])
    assert (heard.count("set"), heard.count("random")) == (4, 4)


def test_another_teacher_costs_no_training_of_hard_labels(made: Path, real: RealData, tmp_path: Path) -> None:
    scored(made, real, "hlr")
    stored = load_net("digits/teacher")
    module = build(stored.spec, 10, 32, generator("another"))
    save_net(tmp_path / "teacher", module, stored.spec, stored.classes, 32, {})
    heard: list[str] = []
    scored(made, real, "hlr", heard, teacher=str(tmp_path / "teacher"))
    assert heard == []


def test_stored_labels_cannot_be_scored(made: Path, real: RealData) -> None:
    with pytest.raises(PotstillError, match="fkd@1 reads stored labels, which the random images"):
        scored(made, real, "ior", protocol=PROTOCOLS["fkd@1"])
