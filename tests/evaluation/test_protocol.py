"""Protocols hold their sources' settings, are frozen, and say when they were changed."""

import json
from pathlib import Path
from typing import Any

import pytest

from potstill.core.errors import PotstillError
from potstill.core.settings import to_plain
from potstill.evaluation import PROTOCOLS
from potstill.evaluation.protocol import Plan, Protocol, Setting
from potstill.labels import LABELLERS
from potstill.nets.augment import Crop, CutMix, Flip, PatchShuffle
from potstill.nets.optimiser import AdamW, Sgd
from potstill.nets.schedule import Drops, WarmCosine
from potstill.nets.siamese import OPERATIONS, Siamese
from potstill.nets.spec import Net

FROZEN = Path(__file__).with_name("protocols.golden.json")
SETTINGS = [
    Setting(student=Net.parse(student), images=classes * ipc, classes=classes, size=size, mirror=mirror)
    for student in ("convnet-3", "resnet-18")
    for classes, ipc, size, mirror in (
        (10, 1, 32, False),
        (10, 10, 32, True),
        (10, 50, 128, True),
        (100, 20, 64, True),
        (200, 10, 64, True),
        (1000, 50, 224, True),
    )
]


def plan(
    name: str,
    *,
    ipc: float = 10,
    classes: int = 10,
    size: int = 32,
    mirror: bool = True,
    student: str = "convnet-3",
) -> Plan:
    images = round(ipc * classes)
    setting = Setting(student=Net.parse(student), images=images, classes=classes, size=size, mirror=mirror)
    return PROTOCOLS[name].plan(setting)


def frozen(protocol: Protocol) -> list[Any]:
    plans = [protocol.plan(setting) for setting in SETTINGS]
    named = [
        to_plain(one) | {"changes": [{type(change).__name__: to_plain(change)} for change in one.changes]}
        for one in plans
    ]
    return json.loads(json.dumps(named))


@pytest.mark.parametrize("name", PROTOCOLS)
class TestEveryProtocol:
    def test_is_named_as_in_the_table(self, name: str) -> None:
        assert PROTOCOLS[name].label == name
        assert PROTOCOLS[name].overrides == {}

    def test_is_frozen(self, name: str) -> None:
        """A difference here is a new version of the protocol, not a new golden file."""
        assert frozen(PROTOCOLS[name]) == json.loads(FROZEN.read_text())[name]

    def test_serves_every_set_and_a_labeller(self, name: str) -> None:
        for ipc in (1, 2, 5, 10, 11, 20, 49, 50, 51, 100, 1000):
            planned = plan(name, ipc=ipc)
            assert 1 <= planned.training.batch <= 10 * ipc and 0 < planned.training.rate < 1
            assert planned.labels in LABELLERS
            assert planned.looks == tuple(sorted(planned.looks))
            assert all(0 < look <= planned.training.epochs for look in planned.looks)
        assert plan(name, ipc=1, classes=3).training.batch <= 3

    def test_names_students_that_there_are(self, name: str) -> None:
        assert PROTOCOLS[name].students
        for student in PROTOCOLS[name].students:
            assert Net.parse(student).short == student


@pytest.mark.parametrize(
    ("classes", "batches"),
    [(10, (10, 50, 100)), (100, (20, 100, 200)), (200, (100, 100, 100)), (1000, (20, 100, 200))],
)
def test_batches_are_rdeds_at_1_10_and_50_images_per_class(classes: int, batches: tuple[int, ...]) -> None:
    found = [plan("rded@1", ipc=ipc, classes=classes).training.batch for ipc in (1, 10, 50)]
    assert tuple(found) == batches


def test_batches_in_between() -> None:
    found = [plan("rded@1", ipc=ipc).training.batch for ipc in (2, 9, 11, 49, 51, 400)]
    assert found == [10, 10, 50, 50, 100, 100]


def test_settings_of_rded() -> None:
    planned = plan("rded@1")
    training = planned.training
    assert (training.epochs, training.batch, training.rate) == (300, 50, 1e-3)
    assert training.optimiser == AdamW(weight_decay=0.01, betas=(0.9, 0.999))
    assert (planned.labels, planned.temperature) == ("teacher", 20.0)
    assert planned.norm_momentum == pytest.approx(1 - (1 - 0.1) ** 2)
    assert planned.looks == (250, 260, 270, 280, 290, 300)


def test_augmentation_by_size_and_data() -> None:
    flip, mix = Flip(probability=0.5), CutMix()
    assert plan("rded@1", size=64).changes == (flip, mix)
    assert plan("rded@1", size=128).changes == (PatchShuffle(strips=2), Crop(least_area=0.5), flip, mix)
    assert plan("rded@1", mirror=False).changes == (mix,)
    assert plan("dsa@1", mirror=False).changes == (
        Siamese(operations=tuple(sorted({*OPERATIONS} - {"flip"}, key=OPERATIONS.index))),
    )
    assert plan("dc@1").changes == ()


def test_sides_of_test_images() -> None:
    sides = {size: plan("rded@1", size=size).test_side for size in (20, 32, 64, 128, 224)}
    assert sides == {20: 20, 32: 32, 64: 72, 128: 144, 224: 256}


def test_hard_differs_in_its_labels_alone() -> None:
    soft, hard = to_plain(plan("rded@1")), to_plain(plan("hard@1"))
    assert {key for key in soft if soft[key] != hard[key]} == {"labels", "temperature"}


def test_the_rates_of_the_matching_papers() -> None:
    """DC: a tenth after epoch E / 2 + 1 (0-based) of E + 1, with a new optimiser; GLaD: facts' own numbers."""
    dc, dsa, glad = (plan(name).training for name in ("dc@1", "dsa@1", "glad@1"))
    assert (dc.epochs, dsa.epochs, glad.epochs) == (301, 1001, 1000)
    assert dc.optimiser == Sgd(momentum=0.9, weight_decay=5e-4)
    for training, last in ((dc, 151), (dsa, 501)):
        schedule, epochs = training.schedule, training.epochs
        assert isinstance(schedule, Drops)
        assert [schedule.factor(epoch, epochs) for epoch in (0, last, last + 1)] == [1, 1, pytest.approx(0.1)]
        assert [epoch for epoch in range(epochs) if schedule.restarts(epoch, epochs)] == [last + 1]
    warm = glad.schedule
    assert isinstance(warm, WarmCosine)
    rates = [1e-3 * warm.factor(epoch, 1000) for epoch in (0, 250, 500, 750, 999)]
    assert rates == pytest.approx([0, 5e-4, 1e-3, 5e-4, 0], abs=2e-8)
    assert plan("glad@1", student="vgg-11").training.rate == 1e-4


def test_minimax_trains_as_long_as_its_source() -> None:
    ipcs = (1, 10, 50, 200, 500, 501)
    assert [plan("hard-minimax@1", ipc=ipc).training.epochs for ipc in ipcs] == [
        3000,
        2000,
        1500,
        1000,
        500,
        300,
    ]
    hundred = [plan("hard-minimax@1", ipc=ipc, classes=100).training.epochs for ipc in ipcs]
    assert hundred == [2000, 1300, 1000, 600, 300, 200]
    drops = plan("hard-minimax@1", ipc=1).training.schedule
    factors = [drops.factor(epoch, 3000) for epoch in (1999, 2000, 2499, 2500)]
    assert factors == pytest.approx([1, 0.2, 0.2, 0.04])


def test_a_change_shows() -> None:
    short = PROTOCOLS["rded@1"].scaled({"training.epochs": 30, "training.optimiser.betas": [0.5, 0.9]})
    assert short.label == "rded@1*"
    assert short.overrides == {"training.epochs": 30, "training.optimiser.betas": [0.5, 0.9]}
    planned = short.plan(SETTINGS[0])
    assert planned.training.epochs == 30
    assert planned.training.optimiser == AdamW(betas=(0.5, 0.9))
    assert PROTOCOLS["rded@1"].plan(SETTINGS[0]).training.epochs == 300


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training.epoch": 30}, "unknown Training setting 'epoch'.*Did you mean 'epochs'"),
        ({"training.epochs": "many"}, "epochs: expected int, found 'many'"),
        ({"name": "rded-short"}, "unknown Plan setting 'name'"),
    ],
)
def test_changes_that_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PotstillError, match=message):
        PROTOCOLS["rded@1"].scaled(change).plan(SETTINGS[0])


def test_a_student_without_a_rate() -> None:
    class Foreign:
        kind = "mixer"

    setting = Setting(student=Foreign(), images=10, classes=10, size=32, mirror=True)  # pyright: ignore[reportArgumentType]
    with pytest.raises(PotstillError, match="unknown student kind with a learning rate 'mixer'"):
        PROTOCOLS["rded@1"].plan(setting)
