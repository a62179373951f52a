"""What holds for every objective that compares real and synthetic images directly.

Those that compare with no real image have files of their own: `test_trajectory.py`, `test_statistics.py`.
"""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.data.real import RealData
from potstill.nets.spec import Net, build
from potstill.objectives import MATCHINGS, Matcher

SIZE, IPC = 8, 2
SETTINGS: dict[str, dict[str, Any]] = {
    "gradient": {"net": "convnet-3-instance-w4", "batch": 500},
    "distribution": {"net": "convnet-3-instance-w4", "batch": 500},
    "idm": {"net": "convnet-3-instance-w4", "batch": 500, "steps": 1},
}
REFUSED = [
    ("gradient", "outer", 0),
    ("gradient", "inner", -1),
    ("gradient", "batch", 0),
    ("distribution", "batch", -1),
    ("idm", "nets", 0),
    ("idm", "batch_net", 0),
]
LABELS = torch.arange(3).repeat_interleave(IPC)


def ready(name: str, real: RealData, seed: int = 0, **changes: Any) -> Matcher:
    made = MATCHINGS[name](**SETTINGS[name] | changes)
    matcher = made.prepare(real, images_per_class=IPC, size=SIZE, seed=seed, device="cpu")
    matcher.begin(0)
    return matcher


def noise() -> Tensor:
    return torch.rand(len(LABELS), 3, SIZE, SIZE, generator=generator("noise"))


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("operations", [(), ("color", "crop", "cutout", "scale", "rotate")])
class TestEveryObjective:
    def test_least_where_synthetic_is_real(
        self, name: str, operations: tuple[str, ...], few: RealData
    ) -> None:
        """All real images of a class are the two synthetic ones, so that every batch is the synthetic set."""
        same = few.train.take([few.train.of_class(label)[i] for label in range(3) for i in range(IPC)])
        twins = RealData(few.name, few.classes, same, few.test, few.size, few.mirror)
        matcher = ready(name, twins, operations=operations)
        images = same.pixels(None, SIZE).float() / 255
        least, other = (matcher.loss(part.requires_grad_(), LABELS, 0).item() for part in (images, noise()))
        assert abs(least) < 0.02 * other, (
            "not quite 0: a row of zeros counts 1 in the public code of gradients"
        )

    def test_the_order_within_a_class_does_not_matter(
        self, name: str, operations: tuple[str, ...], few: RealData
    ) -> None:
        matcher, images = ready(name, few, operations=operations), noise()
        swapped = images.unflatten(0, (3, IPC)).flip(1).flatten(0, 1)
        one, other = (matcher.loss(part.requires_grad_(), LABELS, 0).item() for part in (images, swapped))
        assert one == pytest.approx(other, rel=1e-4)

    def test_the_same_draws_again(self, name: str, operations: tuple[str, ...], few: RealData) -> None:
        """By (seed, iteration, step) and nothing else; another seed or iteration draws otherwise."""
        losses = []
        for seed, iteration in ((0, 3), (0, 3), (1, 3), (0, 4)):
            matcher = ready(name, few, seed, operations=operations, batch=20)
            matcher.begin(iteration)
            losses.append(matcher.loss(noise().requires_grad_(), LABELS, 0).item())
        assert losses[0] == losses[1] and len(set(losses)) == 3

    def test_the_gradient_is_that_of_finite_differences(
        self, name: str, operations: tuple[str, ...], few: RealData
    ) -> None:
        """In float64, along random directions."""
        matcher: Any = ready(name, few, operations=operations, batch=20)
        (matcher.seen.net if name == "idm" else matcher.net).double()
        matcher.real = _Double(matcher.real)
        images = noise().double().requires_grad_()
        (found,) = torch.autograd.grad(matcher.loss(images, LABELS, 0), images)
        for seed in range(3):
            way = torch.randn(images.shape, generator=generator("way", seed)).double()
            way, by = way / way.norm(), 1e-5
            ahead, behind = (
                matcher.loss((images.detach() + sign * by * way).requires_grad_(), LABELS, 0).item()
                for sign in (1, -1)
            )
            slope = (found * way).sum().item()
            assert (ahead - behind) / (2 * by) == pytest.approx(slope, rel=2e-4, abs=1e-6)


class _Double:
    def __init__(self, inner: Any) -> None:
        self.inner, self.rows = inner, inner.rows

    def draw(self, *arguments: Any) -> Tensor:
        return self.inner.draw(*arguments).double()


@pytest.mark.parametrize("name", ["gradient", "distribution"])
def test_batchnorm_sees_both_sides_alike(name: str, few: RealData) -> None:
    """Where the 16 real images of each class are the synthetic ones too, nothing is left to tell apart."""
    same = few.train.take(torch.cat([few.train.of_class(label)[:16] for label in range(3)]))
    twins = RealData(few.name, few.classes, same, few.test, few.size, few.mirror)
    made = MATCHINGS[name](net="convnet-3-batch-w4", batch=500, operations=())
    matcher = made.prepare(twins, images_per_class=16, size=SIZE, seed=0, device="cpu")
    matcher.begin(0)
    labels = torch.arange(3).repeat_interleave(16)
    images = same.pixels(None, SIZE).float() / 255
    others = torch.rand(images.shape, generator=generator("noise"))
    least, other = (matcher.loss(part.requires_grad_(), labels, 0).item() for part in (images, others))
    assert abs(least) < 1e-3 * other


def test_every_objective_of_the_table_is_held_to_it() -> None:
    alone = {"trajectory", "statistics"}
    assert set(MATCHINGS) == SETTINGS.keys() | alone
    assert all((Path(__file__).parent / f"test_{name}.py").is_file() for name in alone)


@pytest.mark.parametrize("settings", REFUSED)
def test_numbers_out_of_range_are_named(settings: tuple[str, str, int]) -> None:
    name, setting, value = settings
    with pytest.raises(PotstillError, match=f"{name} matching: {setting} must be at least .*, not {value}"):
        MATCHINGS[name](**{setting: value})


@pytest.mark.parametrize("name", SETTINGS)
def test_uneven_classes_are_refused(name: str, few: RealData) -> None:
    with pytest.raises(PotstillError, match="equally many images"):
        ready(name, few).loss(noise().requires_grad_(), torch.tensor([0, 0, 0, 1, 2, 2]), 0)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_flip_comes_only_where_the_data_allow_it(name: str, few: RealData) -> None:
    def losses(real: RealData, operations: tuple[str, ...]) -> list[float]:
        matcher, found = ready(name, real, operations=operations, batch=20), []
        for iteration in range(4):
            matcher.begin(iteration)
            found.append(matcher.loss(noise().requires_grad_(), LABELS, 0).item())
        return found

    assert not few.mirror
    assert losses(few, ("flip",)) == losses(few, ())
    assert losses(replace(few, mirror=True), ("flip",)) != losses(few, ())


@pytest.mark.parametrize("name", ["gradient", "distribution"])
def test_every_iteration_has_a_new_random_net(name: str, few: RealData) -> None:
    matcher: Any = ready(name, few)
    for iteration in (0, 1, 7):
        matcher.begin(iteration)
        wanted = build(Net.parse("convnet-3-instance-w4"), 3, SIZE, generator(0, "net", iteration))
        for value, other in zip(matcher.net.parameters(), wanted.parameters(), strict=True):
            assert torch.equal(value, other)


def apart(net: Any, few: RealData, images: Tensor) -> Tensor:
    """Squared distances of class means in float64, each side in one batch."""
    rows = torch.cat([few.train.of_class(label) for label in range(3)])
    wanted = net.embed(few.train.pixels(rows, SIZE).double() / 255).unflatten(0, (3, -1)).mean(1)
    found = net.embed(images.double()).unflatten(0, (3, IPC)).mean(1)
    return (wanted - found).square().sum()


@torch.no_grad()
def test_batchnorm_is_in_training_mode_for_distributions(few: RealData) -> None:
    matcher: Any = ready("distribution", few, net="convnet-3-w4", operations=())
    twin = copy.deepcopy(matcher.net).double().train()
    found = matcher.loss(noise(), LABELS, 0)
    assert found.item() == pytest.approx(apart(twin, few, noise()).item(), rel=1e-3)
    assert found.item() != pytest.approx(apart(twin.eval(), few, noise()).item(), rel=0.1)


def test_batchnorm_is_in_evaluation_mode_for_idm(few: RealData) -> None:
    """After a training: its statistics are used and not moved, and labels count by its accuracy."""
    matcher: Any = ready("idm", few, net="convnet-3-w4", batch_net=600, operations=(), nets=1)
    matcher.learn(noise, LABELS, 0)
    twin = copy.deepcopy(matcher.seen.net).double().eval()
    with torch.no_grad():
        found = matcher.loss(noise(), LABELS, 0).item()
        naming = functional.cross_entropy(twin(noise().double()), LABELS).item() * 3
        wanted = apart(twin, few, noise()).item() + 0.5 * 100 * matcher.seen.accuracy * naming
    assert matcher.seen.accuracy > 0 and found == pytest.approx(wanted, rel=1e-3)
    for (name, value), kept in zip(matcher.seen.net.named_buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(value.double(), kept.double(), msg=name)
