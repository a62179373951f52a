"""The BatchNorm term against the equation written out slowly in float64, and against torch's own batch statistics."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from potstill.nets.spec import Net, build
from potstill.objectives.batchnorm import batch_norms, mismatch, moments, watched


def net(draw):
    """Two BatchNorm layers, whose module order is not the order of calls, with statistics unlike any batch's."""

    class Swapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.late, self.early = nn.BatchNorm2d(4), nn.BatchNorm2d(3)
            self.mix = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, images):
            return self.late(self.mix(self.early(images).tanh()))

    module = Swapped().double().eval().requires_grad_(False)
    for layer in (module.late, module.early):
        layer.running_mean.copy_(torch.randn(layer.num_features, generator=draw))
        layer.running_var.copy_(torch.rand(layer.num_features, generator=draw) + 0.5)
    module.mix.weight.copy_(torch.randn(module.mix.weight.shape, generator=draw))
    return module


def slow_norms(features, layer):
    """The term of one layer, value by value."""
    off_mean, off_variance = [], []
    for channel in range(features.shape[1]):
        values = features[:, channel].flatten().tolist()
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        off_mean.append(mean - layer.running_mean[channel].item())
        off_variance.append(variance - layer.running_var[channel].item())
    return sum(x * x for x in off_variance) ** 0.5 + sum(x * x for x in off_mean) ** 0.5


def slow_loss(module, images, first):
    inner = module.mix(module.early(images).tanh())
    return first * slow_norms(inner, module.late) + slow_norms(images, module.early)


def loss(module, images, first):
    layers = batch_norms(module)
    with watched(layers) as seen:
        module(images)
        return mismatch(layers, seen, first)


def test_value_and_gradient_equal_the_slow_twin(draw):
    module, first = net(draw), 7.0
    images = torch.randn(3, 3, 4, 5, generator=draw, dtype=torch.float64)
    tracked = images.clone().requires_grad_()
    value = loss(module, tracked, first)
    assert value.item() == pytest.approx(slow_loss(module, images, first), rel=1e-12)
    (gradient,) = torch.autograd.grad(value, tracked)
    for place in torch.randperm(images.numel(), generator=draw)[:20].tolist():
        step = torch.zeros(images.numel(), dtype=torch.float64)
        step[place] = 1e-5
        step = step.view_as(images)
        slope = (slow_loss(module, images + step, first) - slow_loss(module, images - step, first)) / 2e-5
        assert gradient.flatten()[place].item() == pytest.approx(slope, rel=1e-5, abs=1e-9)


def test_the_first_layer_is_first_in_module_order_and_weighs_ten(draw):
    module = net(draw)
    images = torch.randn(3, 3, 4, 5, generator=draw, dtype=torch.float64)
    layers = batch_norms(module)
    assert layers == [module.late, module.early]
    with watched(layers) as seen:
        module(images)
    assert mismatch(layers, seen).item() == pytest.approx(slow_loss(module, images, 10.0), rel=1e-12)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_moments_differentiate_as_finite_differences_do(draw, order):
    features = torch.randn(2, 3, 2, 4, generator=draw, dtype=torch.float64)
    features = features.to(memory_format=order).requires_grad_()
    assert torch.autograd.gradcheck(moments, features)


def test_moments_are_those_that_torch_normalises_with(draw):
    features = 3 + 2 * torch.randn(6, 5, 7, 4, generator=draw)
    mean, variance = torch.zeros(5), torch.zeros(5)
    functional.batch_norm(features, mean, variance, training=True, momentum=1.0)
    count = features.numel() / 5
    found_mean, found_variance = moments(features)
    torch.testing.assert_close(found_mean, mean, rtol=1e-5, atol=0)
    torch.testing.assert_close(found_variance, variance * (count - 1) / count, rtol=1e-5, atol=0)


def test_a_net_that_just_saw_the_batch_has_nothing_to_match(draw):
    module = build(Net.parse("convnet-3-w8"), 4, 32, draw)
    for layer in batch_norms(module):
        layer.momentum = 1.0
    images = torch.rand(64, 3, 32, 32, generator=draw)
    before = loss(module.eval(), images, 10.0)
    module.train()(images)
    after = loss(module.eval(), images, 10.0)
    assert after < 0.01 * before


@pytest.mark.parametrize(
    "short, count", [("convnet-3-w8", 3), ("convnet-5-w8", 5), ("resnet-18-small-w8", 20)]
)
def test_every_layer_is_found(draw, short, count):
    module = build(Net.parse(short), 4, 32, draw)
    layers = batch_norms(module)
    assert len(layers) == count
    with watched(layers) as seen:
        module.eval()(torch.rand(2, 3, 32, 32, generator=draw))
    assert set(seen) == set(layers)


def test_layers_without_memory_are_left_out():
    assert batch_norms(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.GroupNorm(1, 3))) == []


def test_hooks_go_whatever_happens(draw):
    module = net(draw)
    layers = batch_norms(module)
    with pytest.raises(RuntimeError), watched(layers) as seen:
        module(torch.zeros(1, 5, 4, 4, dtype=torch.float64))
    held = dict(seen)
    module(torch.randn(2, 3, 4, 4, generator=draw, dtype=torch.float64))
    assert seen == held and not any(layer._forward_pre_hooks for layer in layers)
