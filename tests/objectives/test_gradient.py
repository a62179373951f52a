"""Gradients by class against one backward pass a class; the distance; what an iteration draws."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.nets.siamese import Siamese
from potstill.nets.spec import Net, build
from potstill.objectives.gradient import GradientMatching, apart, class_gradients, weighed

SIZES = {
    "convnet-3-instance-w4": 16,
    "alexnet-w4": 16,
    "vgg-11-instance-w4": 32,
    "resnet-18-small-instance-w4": 16,
    "vit-6-small-layer-w8": 8,
}


def net(name: str) -> nn.Module:
    return build(Net.parse(name), 3, SIZES[name], generator("net")).double().eval()


def images(name: str, count: int = 6) -> Tensor:
    return torch.rand(count, 3, SIZES[name], SIZES[name], generator=generator("images")).double()


def one_by_one(module: nn.Module, pictures: Tensor) -> list[Tensor]:
    """A pass forward and back for each class."""
    weights = [layer.weight for layer in weighed(module)]
    found = []
    for label, own in enumerate(pictures.split(len(pictures) // 3)):
        with sdpa_kernel(SDPBackend.MATH):
            loss = functional.cross_entropy(module(own), torch.full((len(own),), label))
        found.append(torch.autograd.grad(loss, weights, create_graph=True))
    return [torch.stack(parts) for parts in zip(*found, strict=True)]


@pytest.mark.parametrize("name", SIZES)
def test_all_classes_at_once_are_each_class_by_itself(name: str) -> None:
    module, pictures = net(name), images(name).requires_grad_()
    found = class_gradients(module, weighed(module), pictures, 3)
    wanted = one_by_one(module, pictures)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    weights = [torch.randn(one.shape, generator=generator("w")).double() for one in found]
    slopes = [
        torch.autograd.grad(sum((a * b).sum() for a, b in zip(each, weights, strict=True)), pictures)[0]
        for each in (found, wanted)
    ]
    torch.testing.assert_close(*slopes, rtol=1e-8, atol=1e-12)


def test_the_distance_is_one_minus_the_cosine_of_rows() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])
    others = torch.tensor([[5.0, 0.0], [0.0, -1.0], [4.0, -3.0]])
    assert apart(rows, others).item() == pytest.approx(0 + 2 + 1, abs=1e-5)
    assert apart(rows, rows * 7).item() == pytest.approx(0, abs=1e-5)


def test_convolutions_in_groups_are_refused() -> None:
    with pytest.raises(PotstillError, match="convolutions in groups"):
        weighed(nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)))


@pytest.mark.parametrize(
    ("ipc", "loops"), [(1, (1, 1)), (5, (1, 1)), (10, (10, 50)), (50, (50, 10)), (99, (50, 10))]
)
def test_loops_are_the_public_codes_by_images_per_class(few, ipc: int, loops: tuple[int, int]) -> None:
    made = GradientMatching(net="convnet-3-instance-w4").prepare(
        few, images_per_class=ipc, size=16, seed=0, device="cpu"
    )
    assert made.loops == loops


def test_batchnorm_is_frozen_at_the_statistics_of_real_images(few) -> None:
    """Those of 16 images a class, in one batch."""
    matcher = GradientMatching(net="convnet-3-batch-w4", batch=4).prepare(
        few, images_per_class=1, size=16, seed=0, device="cpu"
    )
    matcher.begin(0)
    matcher.loss(images("alexnet-w4", 3).float().requires_grad_(), torch.arange(3), 0)
    drawn = [matcher.real.draw(label, 16, generator(0, "statistics", 0, 0, label)) for label in range(3)]
    first = next(layer for layer in matcher.net.modules() if isinstance(layer, nn.BatchNorm2d))
    inputs: list[Tensor] = []
    first.register_forward_hook(lambda layer, entered, left: inputs.append(entered[0]))
    matcher.net(torch.cat(drawn))
    assert not first.training
    torch.testing.assert_close(first.running_mean, inputs[0].mean((0, 2, 3)))
    torch.testing.assert_close(first.running_var, inputs[0].transpose(0, 1).flatten(1).var(1))


def test_training_between_steps_is_sgd_on_the_synthetic_images(few) -> None:
    """One epoch in one batch: the new weights are the old ones less the rate times the gradient."""
    method = GradientMatching(net="convnet-3-instance-w4", outer=2, inner=1, rate_net=0.5)
    matcher = method.prepare(few, images_per_class=2, size=16, seed=0, device="cpu")
    pictures, labels = (
        torch.rand(6, 3, 16, 16, generator=generator("p")),
        torch.arange(3).repeat_interleave(2),
    )
    assert matcher.begin(0) == 2
    before = {name: value.clone() for name, value in matcher.net.named_parameters()}
    matcher.net.train()
    loss = functional.cross_entropy(matcher.net(pictures), labels)
    slopes = torch.autograd.grad(loss, list(matcher.net.parameters()))
    matcher.learn(lambda: pictures, labels, 0)
    for (name, value), slope in zip(matcher.net.named_parameters(), slopes, strict=True):
        torch.testing.assert_close(value, before[name] - 0.5 * slope, rtol=1e-4, atol=1e-6)
    after = {name: value.clone() for name, value in matcher.net.named_parameters()}
    matcher.learn(lambda: pictures, labels, 1)
    assert all(torch.equal(value, after[name]) for name, value in matcher.net.named_parameters()), "the last"
    assert all(value.grad is None for value in matcher.net.parameters())


@pytest.mark.parametrize("operations", [(), ("color", "crop")])
def test_training_between_steps_takes_epochs_of_batches(few, operations: tuple[str, ...]) -> None:
    """Written out: each batch's own gradient, each image changed by itself, other draws at every step."""
    method = GradientMatching(
        net="convnet-3-instance-w4", outer=3, inner=2, rate_net=0.5, batch_net=4, operations=operations
    )
    matcher = method.prepare(few, images_per_class=2, size=16, seed=0, device="cpu")
    matcher.begin(5)
    pictures, labels = (
        torch.rand(6, 3, 16, 16, generator=generator("p")),
        torch.arange(3).repeat_interleave(2),
    )
    twin, change = copy.deepcopy(matcher.net).train(), Siamese(operations=operations)
    for step in range(2):
        matcher.learn(lambda: pictures, labels, step)
        draws = generator(0, "train", 5, step)
        for _ in range(2):
            for rows in torch.randperm(6, generator=draws).split(4):
                seen = change(pictures[rows], labels[rows], draws)[0] if operations else pictures[rows]
                loss = functional.cross_entropy(twin(seen), labels[rows])
                slopes = torch.autograd.grad(loss, list(twin.parameters()))
                with torch.no_grad():
                    for value, slope in zip(twin.parameters(), slopes, strict=True):
                        value -= 0.5 * slope
        for value, wanted in zip(matcher.net.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-4, atol=1e-5)
