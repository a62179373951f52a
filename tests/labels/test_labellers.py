"""Every labeller keeps the contract; the teacher's loss is RDED's formula."""

import pytest
import torch
from torch import Tensor, nn

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.labels import LABELLERS, Labeller
from potstill.labels.codec import Codec
from potstill.labels.header import Header, block_dither
from potstill.labels.teacher import TeacherLabels
from potstill.labels.views import FORMAT, ViewLabels
from potstill.nets.fit import View
from potstill.nets.spec import Net, build

TEMPERATURE = 4.0


def view(images: Tensor, shares: Tensor | None = None, start: int = 0) -> View:
    given = torch.full((len(images), 5), 0.2) if shares is None else shares
    rows = torch.arange(len(images))
    return View(images=images, shares=given, rows=rows, epoch=0, index=0, start=start)


def made(name: str, teacher: nn.Module, images: Tensor) -> Labeller:
    """A labeller of the table, made from what it needs."""
    kind = LABELLERS[name]
    if kind.needs != "file":
        return kind(teacher, TEMPERATURE)
    logits = teacher.eval()(images).detach()
    shares = torch.full((len(images), 5), 0.2)
    codec = Codec.fit(logits, shares, 60)
    words = codec.encode(logits, shares, block_dither(0, 0, len(images), codec.components))
    header = Header(
        format=FORMAT,
        images="",
        count=len(images),
        classes=tuple("abcde"),
        teacher="",
        teacher_sha256="",
        seed=0,
        epochs=1,
        batch=6,
        changes="[]",
    )
    return kind(ViewLabels(header=header, codec=codec, blocks=(words,)), TEMPERATURE)


@pytest.fixture
def teacher() -> nn.Module:
    return build(Net(width=8), 5, 16, generator("teacher"))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 3, 16, 16, generator=generator("images"))


@pytest.fixture
def shares() -> Tensor:
    return torch.rand(6, 5, generator=generator("shares")).softmax(1)


@pytest.mark.parametrize("name", LABELLERS)
class TestEveryLabeller:
    def test_a_finite_scalar_with_a_gradient(
        self, name: str, teacher: nn.Module, images: Tensor, shares: Tensor
    ) -> None:
        labeller = made(name, teacher, images)
        logits = torch.randn(6, 5, generator=generator(1), requires_grad=True)
        loss = labeller.loss(logits, view(images, shares))
        assert loss.shape == () and loss.isfinite()
        loss.backward()
        assert logits.grad is not None and logits.grad.abs().sum(1).gt(0).all()
        assert all(parameter.grad is None for parameter in teacher.parameters())

    def test_least_where_the_student_says_what_it_is_told(
        self, name: str, teacher: nn.Module, images: Tensor, shares: Tensor
    ) -> None:
        labeller = made(name, teacher, images)
        target = shares.log() if name == "hard" else teacher.eval()(images).detach()
        logits = target.clone().requires_grad_()
        least = labeller.loss(logits, view(images, shares))
        least.backward()
        assert logits.grad is not None and logits.grad.abs().max() < 1e-5
        for seed in range(20):
            moved = target + 0.5 * torch.randn(6, 5, generator=generator("moved", seed))
            assert labeller.loss(moved, view(images, shares)) > least

    def test_a_mean_over_images(self, name: str, teacher: nn.Module, images: Tensor, shares: Tensor) -> None:
        labeller = made(name, teacher, images)
        logits = torch.randn(6, 5, generator=generator(1))
        whole = labeller.loss(logits, view(images, shares))
        single = [
            labeller.loss(logits[i : i + 1], view(images[i : i + 1], shares[i : i + 1], i)) for i in range(6)
        ]
        torch.testing.assert_close(whole, torch.stack(single).mean())


def test_the_teachers_loss_is_rdeds_formula(teacher: nn.Module, images: Tensor, shares: Tensor) -> None:
    labeller = TeacherLabels(teacher, 20.0)
    logits = 10 * torch.randn(6, 5, generator=generator(1))
    p = (teacher.eval()(images).double() / 20).softmax(1)
    q = (logits.double() / 20).softmax(1)
    expected = (p * (p.log() - q.log())).sum(1).mean()
    torch.testing.assert_close(
        labeller.loss(logits, view(images, shares)).double(), expected, rtol=1e-5, atol=1e-9
    )


def test_its_gradient_is_the_difference_over_temperature_and_batch(
    teacher: nn.Module, images: Tensor
) -> None:
    logits = torch.randn(6, 5, generator=generator(1), requires_grad=True)
    TeacherLabels(teacher, 20.0).loss(logits, view(images)).backward()
    p, q = (teacher(images) / 20).softmax(1), (logits.detach() / 20).softmax(1)
    torch.testing.assert_close(logits.grad, (q - p) / (20 * 6), rtol=1e-3, atol=1e-7)


def test_the_teacher_is_frozen_in_eval_mode(teacher: nn.Module, images: Tensor) -> None:
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    labeller = TeacherLabels(teacher.train(), 20.0)
    labeller.loss(torch.zeros(6, 5), view(images))
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_hard_labels_are_cross_entropy(images: Tensor) -> None:
    logits = torch.randn(6, 5, generator=generator(1))
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    loss = LABELLERS["hard"]().loss(logits, view(images, torch.eye(5)[labels]))
    expected = -logits.double().softmax(1)[torch.arange(6), labels].log().mean()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)


def test_what_a_teacher_needs(teacher: nn.Module) -> None:
    with pytest.raises(PotstillError, match="need a trained net"):
        TeacherLabels(None, 20.0)
    for temperature in (None, 0.0, float("nan")):
        with pytest.raises(PotstillError, match=f"above 0, not {temperature}"):
            TeacherLabels(teacher, temperature)
