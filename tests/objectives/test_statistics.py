"""BatchNorm statistics as an objective: its value written out in float64, and that every canvas can learn by it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from potstill.canvas.chain import Chain
from potstill.canvas.gan_code import GanCode
from potstill.canvas.latents import Latents
from potstill.canvas.pixels import Pixels
from potstill.core.errors import PotstillError
from potstill.core.progress import silent
from potstill.core.seeds import generator
from potstill.data.real import RealData
from potstill.methods.matching import Matching
from potstill.nets.spec import Net, build
from potstill.nets.store import load_net, save_net
from potstill.objectives.statistics import BatchNormStatistics, StatisticsMatcher

LABELS = torch.arange(3).repeat_interleave(2)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, few: RealData) -> str:
    """An untrained net whose statistics are unlike any batch's, and not 0 and 1."""
    folder, spec = tmp_path_factory.mktemp("teacher"), Net.parse("convnet-3-w4")
    module = build(spec, 3, 8, generator("teacher"))
    for place, layer in enumerate(one for one in module.modules() if isinstance(one, nn.BatchNorm2d)):
        draw = generator("statistics", place)
        layer.running_mean = torch.randn(layer.num_features, generator=draw)
        layer.running_var = torch.rand(layer.num_features, generator=draw) + 0.5
    save_net(folder, module, spec, few.classes, 8, {})
    return str(folder)


def ready(few: RealData, size: int = 8, **settings: Any) -> StatisticsMatcher:
    made = BatchNormStatistics(**settings)
    return made.prepare(few, images_per_class=2, size=size, seed=0, device="cpu")


def noise(size: int = 8) -> Tensor:
    return torch.rand(6, 3, size, size, generator=generator("noise"), dtype=torch.float64)


def slow(folder: str, images: Tensor, weight: float, first: float) -> float:
    """Each layer's input caught on its way, and every sum by itself."""
    module, total, inputs = load_net(folder).module.double(), 0.0, []
    layers = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in layers:
        layer.register_forward_hook(lambda _, given, out: inputs.append(given[0]))
    chances = module(images).exp()
    for row, label in enumerate(LABELS.tolist()):
        total -= (chances[row, label] / chances[row].sum()).log().item() / len(LABELS)
    for place, (layer, given) in enumerate(zip(layers, inputs, strict=True)):
        values = given.transpose(0, 1).flatten(1)
        mean = values.mean(1) - layer.running_mean
        variance = (values - values.mean(1, keepdim=True)).pow(2).mean(1) - layer.running_var
        apart = mean.pow(2).sum().sqrt() + variance.pow(2).sum().sqrt()
        total += weight * (1 if place else first) * apart.item()
    return total


@pytest.mark.parametrize(("weight", "first"), [(0.01, 10.0), (0.7, 3.0), (0.0, 1.0)])
def test_the_value_is_the_equations(few: RealData, teacher: str, weight: float, first: float) -> None:
    matcher = ready(few, teacher=teacher, weight=weight, first=first, operations=())
    matcher.teacher.module.double()
    assert matcher.begin(0) == 1
    found = matcher.loss(noise(), LABELS, 0).item()
    assert found == pytest.approx(slow(teacher, noise(), weight, first), rel=1e-9)


def test_the_statistics_of_the_images_that_a_net_has_seen_are_met(few: RealData, tmp_path: Any) -> None:
    spec, images = Net.parse("convnet-3-w4"), noise().float()
    module = build(spec, 3, 8, generator("seen"))
    for layer in (one for one in module.modules() if isinstance(one, nn.BatchNorm2d)):
        layer.momentum = 1.0
    module.train()(images)
    save_net(tmp_path, module, spec, few.classes, 8, {})
    matcher = ready(few, teacher=str(tmp_path), weight=1.0, operations=())
    naming = ready(few, teacher=str(tmp_path), weight=0.0, operations=())
    same, other = (
        (matcher.loss(some, LABELS, 0) - naming.loss(some, LABELS, 0)).item()
        for some in (images, noise().float() ** 2)
    )
    assert same < 0.05 * other


@pytest.mark.parametrize("operations", [(), ("color", "crop", "cutout", "scale", "rotate")])
def test_the_gradient_is_that_of_finite_differences(
    few: RealData, teacher: str, operations: tuple[str, ...]
) -> None:
    matcher = ready(few, teacher=teacher, weight=0.3, operations=operations)
    matcher.teacher.module.double()
    matcher.begin(2)
    images = noise().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda some: matcher.loss(some, LABELS, 0), images, atol=1e-5, fast_mode=True
    )


def test_the_order_of_images_does_not_matter(few: RealData, teacher: str) -> None:
    matcher = ready(few, teacher=teacher)
    one, other = (
        matcher.loss(noise().float()[order], LABELS[order], 0).item()
        for order in (torch.arange(6), torch.tensor([1, 0, 3, 2, 5, 4]))
    )
    assert one == pytest.approx(other, rel=1e-5)


def test_draws_are_by_seed_and_iteration(few: RealData, teacher: str) -> None:
    losses = []
    for seed, iteration in ((0, 3), (0, 3), (1, 3), (0, 4)):
        made = BatchNormStatistics(teacher=teacher)
        matcher = made.prepare(few, images_per_class=2, size=8, seed=seed, device="cpu")
        matcher.begin(iteration)
        losses.append(matcher.loss(noise().float(), LABELS, 0).item())
    assert losses[0] == losses[1] and len(set(losses)) == 3


CANVASES = {
    "pixels": Pixels(start="noise", rate=1.0),
    "latents": Latents(prior="digits/dit", rate=1.0),
    "chain": Chain(prior="digits/dit", steps=2, rate=1.0, rate_condition=1.0),
    "gan-code": GanCode(generator="digits/gan", rate_w=0.1, rate_f=0.1),
}


@pytest.mark.parametrize("canvas", CANVASES)
def test_every_canvas_learns_by_it(few: RealData, canvas: str) -> None:
    """The loss falls over the first steps, which begin at real images or noise."""
    objective = BatchNormStatistics(teacher="digits/teacher", operations=())
    method = Matching(objective=objective, canvas=CANVASES[canvas], iterations=6)
    made = method.prepare(few, seed=0, images_per_class=1, device="cpu")
    made.optimise(silent)
    assert made.losses[-1] < 0.96 * made.losses[0]
    assert "digits/teacher" in made.weights


def test_what_is_refused(few: RealData, tmp_path: Any) -> None:
    for name in ("weight", "first"):
        with pytest.raises(PotstillError, match=f"{name} must be at least 0, not nan"):
            BatchNormStatistics(teacher="digits/teacher", **{name: float("nan")})
    spec = Net.parse("convnet-3-instance-w4")
    save_net(tmp_path, build(spec, 3, 8, generator("plain")), spec, few.classes, 8, {})
    with pytest.raises(PotstillError, match="has no BatchNorm layers to match"):
        ready(few, teacher=str(tmp_path))
