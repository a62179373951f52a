"""Protocols hold RDED's settings and say when they were changed."""

from typing import Any

import pytest

from potstill.core.errors import PotstillError
from potstill.core.settings import from_plain, to_plain
from potstill.evaluation import PROTOCOLS
from potstill.evaluation.protocol import HARD, RDED, Protocol, scaled
from potstill.labels import LABELLERS
from potstill.nets import NETS
from potstill.nets.augment import Augmentation
from potstill.nets.spec import Net


@pytest.mark.parametrize("name", PROTOCOLS)
class TestEveryProtocol:
    def test_is_named_as_in_the_table(self, name: str) -> None:
        protocol = PROTOCOLS[name]
        assert protocol.label == name
        assert protocol.changes == {}

    def test_survives_plain_values(self, name: str) -> None:
        protocol = PROTOCOLS[name]
        assert from_plain(Protocol, to_plain(protocol), "here") == protocol

    def test_serves_every_kind_of_net_and_a_labeller(self, name: str) -> None:
        protocol = PROTOCOLS[name]
        assert protocol.labels in LABELLERS
        for kind in NETS:
            training = protocol.training(Net(kind=kind, depth=NETS[kind].depths[0]), 100, 10)
            assert 0 < training.rate < 1 and training.epochs == protocol.epochs


@pytest.mark.parametrize(
    ("classes", "batches"),
    [(10, (10, 50, 100)), (100, (20, 100, 200)), (200, (100, 100, 100)), (1000, (20, 100, 200))],
)
def test_batches_are_rdeds_at_1_10_and_50_images_per_class(classes: int, batches: tuple[int, ...]) -> None:
    assert tuple(RDED.batch_for(classes * ipc, classes) for ipc in (1, 10, 50)) == batches


def test_batches_in_between() -> None:
    assert [RDED.batch_for(10 * ipc, 10) for ipc in (2, 9, 11, 49, 51, 400)] == [10, 10, 50, 50, 100, 100]
    assert RDED.batch_for(3, 3) == 3
    assert scaled(RDED, batch=25).batch_for(1000, 100) == 25
    assert scaled(RDED, batch=25).batch_for(12, 2) == 12


def test_settings_of_rded() -> None:
    training = RDED.training(Net(), 100, 10)
    assert (training.epochs, training.batch, training.rate) == (300, 50, 1e-3)
    assert (training.weight_decay, training.betas, training.cosine) == (0.01, (0.9, 0.999), 0.5)
    assert (RDED.labels, RDED.temperature) == ("teacher", 20.0)
    assert RDED.norm_momentum == pytest.approx(1 - (1 - 0.1) ** 2)


def test_augmentation_by_size_and_data() -> None:
    small, large = (RDED.augmentation(size, mirror=True) for size in (64, 128))
    assert small == Augmentation(shuffle=1, least_area=1.0, flip=0.5, cutmix=True)
    assert large == Augmentation(shuffle=2, least_area=0.5, flip=0.5, cutmix=True)
    assert RDED.augmentation(32, mirror=False).flip == 0
    assert scaled(RDED, shuffle=1).augmentation(224, mirror=True).least_area == 1


def test_sides_of_test_images() -> None:
    assert {size: RDED.test_side(size) for size in (32, 64, 128, 224)} == {32: 32, 64: 72, 128: 144, 224: 256}
    assert RDED.test_side(20) == 20


def test_hard_differs_in_its_labels_alone() -> None:
    plain, other = to_plain(RDED), to_plain(HARD)
    assert {key for key in plain if plain[key] != other[key]} == {"name", "labels", "temperature"}


def test_a_change_shows() -> None:
    short = scaled(RDED, epochs=30, betas=[0.5, 0.9])
    assert short.label == "rded@1*"
    assert short.changes == {"epochs": 30, "betas": [0.5, 0.9]}
    assert scaled(short, epochs=300, betas=[0.9, 0.999]) == RDED
    assert Protocol(name="mine").label == "mine@1*"
    assert Protocol(name="mine").changes["epochs"] == 300


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": 30}, "unknown Protocol setting 'epoch' in protocol rded@1.*Did you mean 'epochs'"),
        ({"epochs": "many"}, "rded@1: epochs: expected int, found 'many'"),
        ({"name": "rded-short"}, "unknown setting to change 'name'"),
        ({"version": 2}, "unknown setting to change 'version'"),
    ],
)
def test_changes_that_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PotstillError, match=message):
        scaled(RDED, **change)


def test_a_student_without_a_rate() -> None:
    class Foreign:
        kind = "mixer"

    with pytest.raises(PotstillError, match="unknown student kind with a learning rate 'mixer'"):
        RDED.rate_for(Foreign())  # pyright: ignore[reportArgumentType]
