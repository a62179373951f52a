"""Architectures against published counts and another ResNet; start values against definitions."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.nets import NETS
from potstill.nets.predict import predict
from potstill.nets.spec import Net, build, hollow

# Parameters and multiply-adds (in 1e9): RDED's ConvNets and small stem by its code, else torchvision.
COUNTS = [
    ("convnet-3", 10, 32, 320_010, 0.0507),
    ("convnet-3", 100, 32, 504_420, 0.0509),
    ("convnet-4", 200, 64, 857_160, 0.213),
    ("convnet-5", 10, 128, 615_690, 0.859),
    ("convnet-6", 100, 128, 794_340, 0.861),
    ("resnet-18", 1000, 224, 11_689_512, 1.81),
    ("resnet-34", 1000, 224, 21_797_672, 3.66),
    ("resnet-18-small", 10, 32, 11_173_962, 0.555),
    ("resnet-18-small", 10, 64, 11_173_962, 2.22),
]


def multiply_adds(module: nn.Module, size: int) -> int:
    total = 0

    def count(layer: nn.Module, inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(layer.weight, torch.Tensor)
        total += output[0].numel() * layer.weight[0].numel()

    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(count)
    module.to("meta").eval()(torch.empty(1, 3, size, size, device="meta"))
    return total


@pytest.mark.parametrize(("short", "classes", "size", "parameters", "giga"), COUNTS)
def test_published_counts(short: str, classes: int, size: int, parameters: int, giga: float) -> None:
    module = hollow(Net.parse(short), classes, size)
    assert sum(parameter.numel() for parameter in module.parameters()) == parameters
    assert multiply_adds(module, size) / 1e9 == pytest.approx(giga, rel=0.006)


@pytest.mark.parametrize(
    ("depth", "size", "features"), [(3, 32, 2048), (5, 128, 2048), (6, 128, 512), (5, 224, 6272)]
)
def test_convnet_features(depth: int, size: int, features: int) -> None:
    module: Any = hollow(Net(depth=depth), 10, size)
    assert module.head.in_features == features


def test_resnet_18_has_20_norms_over_2_48_million_values() -> None:
    module = hollow(Net.parse("resnet-18"), 1000, 224).to("meta").eval()
    seen: list[int] = []
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(lambda layer, inputs, output: seen.append(output.numel()))
    module(torch.empty(1, 3, 224, 224, device="meta"))
    assert len(seen) == 20
    assert sum(seen) / 1e6 == pytest.approx(2.48, abs=0.005)


def test_resnet_equals_the_one_in_transformers() -> None:
    from transformers import ResNetConfig, ResNetModel

    widths = [8, 16, 32, 64]
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=widths, depths=[2, 2, 2, 2], layer_type="basic", hidden_act="relu"
    )
    twin = ResNetModel(config).eval()
    ours: Any = build(Net.parse("resnet-18-w8"), 10, 64, generator(0)).eval()
    twin.load_state_dict(dict(zip(twin.state_dict(), paired_values(ours), strict=True)))
    images = torch.rand(3, 3, 64, 64, generator=generator(1))
    expected = twin(ours.normalise(images)).pooler_output.flatten(1)
    torch.testing.assert_close(ours.embed(images), expected, rtol=1e-4, atol=1e-5)


def paired_values(ours: Any) -> list[torch.Tensor]:
    """Our values in the twin's order, which names a block's shortcut before its two convolutions."""
    values = [ours.stem.state_dict(), ours.norm.state_dict()]
    for block in ours.blocks:
        values += [part.state_dict() for part in block.shortcut]
        for part in (block.convolution1, block.norm1, block.convolution2, block.norm2):
            values.append(part.state_dict())
    return [value for part in values for value in part.values()]


@pytest.mark.parametrize(
    "short", ["convnet-3", "convnet-6-w32", "resnet-18", "resnet-18-small", "resnet-34-small-w8"]
)
def test_the_short_form_is_read_back(short: str) -> None:
    assert Net.parse(short).short == short


def test_forms() -> None:
    assert Net.parse("convnet-3").label == "ConvNet-3, width 128"
    assert Net.parse("resnet-18-w16-small").short == "resnet-18-small-w16"
    assert Net.parse("resnet-18-small").label == "ResNet-18, small stem, width 64"
    assert Net() == Net(kind="convnet", depth=3, width=128)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("convet-3", "unknown net 'convet'.*Did you mean 'convnet'"),
        ("convnet", "unknown convnet depth ''"),
        ("convnet-9", "unknown convnet depth '9'.*Allowed: 3, 4, 5, 6"),
        ("convnet-x", "unknown convnet depth 'x'"),
        ("convnet-3-small", "unknown option 'small' in net 'convnet-3-small'"),
        ("resnet-18-smal", "Did you mean 'small'"),
        ("convnet-3-w0", "unknown option 'w0'"),
        ("convnet-3-w8-w9", "unknown option 'w9'"),
    ],
)
def test_what_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(PotstillError, match=message):
        Net.parse(text)


def test_too_small_images() -> None:
    with pytest.raises(PotstillError, match="ConvNet-6 needs images of at least 64 px, not 32"):
        build(Net(depth=6), 10, 32, generator(0))


@pytest.mark.parametrize("short", ["convnet-3", "resnet-18", "resnet-18-small"])
def test_start_values(short: str) -> None:
    module = build(Net.parse(short), 10, 32, generator(7))
    for name, layer in module.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            fan_in, fan_out = layer.weight[0].numel(), layer.weight[:, 0].numel()
            normal = (
                short.startswith("resnet") and name != "head" and not (name == "stem" and "small" in short)
            )
            check_draw(layer.weight, math.sqrt(2 / fan_out) if normal else 1 / math.sqrt(3 * fan_in), normal)
            if layer.bias is not None:
                check_draw(layer.bias, 1 / math.sqrt(3 * fan_in), False)
        elif isinstance(layer, nn.BatchNorm2d):
            state = layer.state_dict()
            assert all(state[key].eq(1).all() for key in ("weight", "running_var"))
            assert all(state[key].eq(0).all() for key in ("bias", "running_mean", "num_batches_tracked"))


def check_draw(values: torch.Tensor, deviation: float, normal: bool) -> None:
    """Mean 0, the deviation given and, if uniform, all values within sqrt(3) deviations and close to them."""
    count = values.numel()
    assert abs(values.mean().item()) < 5 * deviation / math.sqrt(count)
    assert values.square().mean().sqrt().item() == pytest.approx(deviation, rel=4 / math.sqrt(count))
    bound = math.sqrt(3) * deviation
    largest = values.abs().max().item()
    assert largest > bound if normal else bound * (1 - 20 / count) < largest <= bound


def test_bounds_are_pytorchs_own() -> None:
    """PyTorch's default layers fill the same range; drawn from the global generator, which is put back."""
    with torch.random.fork_rng():
        convolution, linear = nn.Conv2d(16, 64, 3), nn.Linear(256, 128)
    for layer, fan_in in ((convolution, 144), (linear, 256)):
        assert layer.weight.abs().max().item() == pytest.approx(1 / math.sqrt(fan_in), rel=0.01)


def test_build_draws_from_its_generator_alone() -> None:
    before = torch.random.get_rng_state()
    nets: list[Any] = [build(Net(width=8), 10, 16, generator(seed)) for seed in (1, 1, 2)]
    first, again, other = nets
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.head.weight, other.head.weight)


KINDS = [(kind, stem) for kind in NETS for stem in NETS[kind].stems]


@pytest.mark.parametrize(("kind", "stem"), KINDS)
class TestEveryNet:
    def test_images_in_logits_out(self, kind: str, stem: str) -> None:
        module = self.net(kind, stem)
        images = torch.rand(4, 3, 32, 32, generator=generator(1), requires_grad=True)
        logits = module(images)
        assert logits.shape == (4, 7)
        logits.square().sum().backward()
        assert images.grad is not None and images.grad.abs().sum(1).gt(0).float().mean() > 0.9
        assert all(parameter.grad is not None for parameter in module.parameters())

    def test_one_image_in_eval_mode_counts_the_same_alone(self, kind: str, stem: str) -> None:
        module = self.net(kind, stem).eval()
        images = torch.rand(4, 3, 32, 32, generator=generator(1))
        torch.testing.assert_close(module(images[:1]), module(images)[:1], rtol=1e-4, atol=1e-5)

    def test_predicting_in_parts_is_predicting(self, kind: str, stem: str) -> None:
        module = self.net(kind, stem).eval()
        images = torch.rand(35, 3, 32, 32, generator=generator(1))
        logits = predict(module, images)
        assert not logits.requires_grad
        torch.testing.assert_close(logits, module(images), rtol=1e-4, atol=1e-5)

    def test_head_of_embed(self, kind: str, stem: str) -> None:
        module = self.net(kind, stem).eval()
        images = torch.rand(2, 3, 32, 32, generator=generator(1))
        assert torch.equal(module.head(module.embed(images)), module(images))

    def test_normalises_itself(self, kind: str, stem: str) -> None:
        module = self.net(kind, stem)
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        pixels = torch.stack((mean, mean + deviation))[:, :, None, None].expand(2, 3, 32, 32)
        normal = module.normalise(pixels)
        torch.testing.assert_close(normal, torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 3, 32, 32))

    @staticmethod
    def net(kind: str, stem: str) -> Any:
        return build(Net(kind=kind, stem=stem, depth=NETS[kind].depths[0], width=8), 7, 32, generator(0))
