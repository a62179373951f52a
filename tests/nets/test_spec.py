"""Short forms; architectures against published counts; start values against definitions."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
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
    ("resnet-50", 1000, 224, 25_557_032, 4.09),
    ("resnet-101", 1000, 224, 44_549_160, 7.80),
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


# Parameters alone. The ConvNets' are those of the matching papers' code. The others follow from their layers:
# (k k a + 1) b for a convolution from a to b channels, without the 1 in ResNets, 2 b for a norm, (a + 1) b for a
# linear layer.
PARAMETERS = [
    ("convnet-3-instance", 10, 32, 320_010),
    ("convnet-3-instance", 100, 32, 504_420),
    ("convnet-3-instance", 200, 64, 1_938_120),
    ("convnet-4-instance", 200, 64, 857_160),
    ("convnet-5-instance", 10, 128, 615_690),
    ("convnet-6-instance", 10, 256, 763_530),
    ("convnet-6-instance", 100, 224, 858_340),
    ("convnet-3-none", 10, 32, 320_010 - 3 * 2 * 128),
    ("resnet-18-small-instance", 10, 128, 11_173_962),
    ("alexnet", 10, 32, 1_872_202),
    ("alexnet", 10, 128, 1_872_202 + 10 * 192 * (16**2 - 4**2)),
    ("vgg-11-small", 10, 32, 9_231_114),
    ("vgg-11-small-batch", 10, 32, 9_231_114),
    ("vgg-11", 10, 128, 9_231_114 + 10 * (25_088 - 512)),
    (
        "vit",
        10,
        128,
        (3 * 16**2 + 1) * 512 + (1 + 65) * 512 + 10 * (4 * 512**2 + 512 + 2 * 513 * 512) + 5_130,
    ),
    (
        "vit-6-small-layer",
        10,
        32,
        49 * 512 + (1 + 65) * 512 + 6 * (4 * 512**2 + 512 + 2 * 513 * 512 + 4 * 512) + 2 * 512 + 5_130,
    ),
    (
        "resnetap-10-instance",
        10,
        224,
        sum(9 * a * b + 9 * b * b + 4 * b for a, b in ((64, 64), (64, 128), (128, 256), (256, 512)))
        + sum(a * b + 2 * b for a, b in ((64, 128), (128, 256), (256, 512)))
        + (49 * 3 * 64 + 2 * 64)
        + 5_130,
    ),
]


@pytest.mark.parametrize(("short", "classes", "size", "parameters", "giga"), COUNTS)
def test_published_counts(short: str, classes: int, size: int, parameters: int, giga: float) -> None:
    module = hollow(Net.parse(short), classes, size)
    assert sum(parameter.numel() for parameter in module.parameters()) == parameters
    assert multiply_adds(module, size) / 1e9 == pytest.approx(giga, rel=0.006)


@pytest.mark.parametrize(("short", "classes", "size", "parameters"), PARAMETERS)
def test_parameters(short: str, classes: int, size: int, parameters: int) -> None:
    module = hollow(Net.parse(short), classes, size)
    assert sum(parameter.numel() for parameter in module.parameters()) == parameters


def test_glads_vgg_has_25088_features() -> None:
    module: Any = hollow(Net.parse("vgg-11"), 10, 128)
    assert module.head.in_features == 25_088


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


@pytest.mark.parametrize(("short", "norms"), [("resnet-18", 20), ("resnet-50", 53), ("resnet-101", 104)])
def test_norms_of_resnets(short: str, norms: int) -> None:
    for norm, kind in (("", nn.BatchNorm2d), ("-instance", nn.GroupNorm)):
        module = hollow(Net.parse(f"{short}{norm}-w8"), 10, 64)
        assert sum(isinstance(layer, kind) for layer in module.modules()) == norms


@pytest.mark.parametrize(
    "short",
    [
        *(
            "convnet-3",
            "convnet-6-w32",
            "convnet-3-instance",
            "convnet-3-none-w32",
            "vgg-11",
            "vgg-11-small-batch",
        ),
        *("resnet-18", "resnet-18-small", "resnet-34-small-w8", "resnet-18-small-instance", "resnet-101"),
        *("resnetap-10-mid-instance", "alexnet", "alexnet-w64", "vit", "vit-6-small-layer", "vit-w64"),
    ],
)
def test_the_short_form_is_read_back(short: str) -> None:
    assert Net.parse(short).short == short


def test_forms() -> None:
    assert Net.parse("convnet-3").label == "ConvNet-3, width 128"
    assert Net.parse("resnet-18-w16-small").short == "resnet-18-small-w16"
    assert Net.parse("resnet-18-small").label == "ResNet-18, small stem, width 64"
    assert Net.parse("resnet-18-small-instance").label == "ResNet-18, small stem, instance norm, width 64"
    assert Net.parse("convnet-3-none").label == "ConvNet-3, no norm, width 128"
    assert Net.parse("convnet-3-batch").short == "convnet-3"
    assert Net.parse("vgg-11-instance").short == "vgg-11"
    assert (Net.parse("alexnet").label, Net.parse("alexnet-5").short) == ("AlexNet, width 128", "alexnet")
    assert (Net.parse("vit").label, Net.parse("vit-10").short) == ("ViT, width 512", "vit")
    assert Net.parse("vit-6-small").label == "ViT-6, small stem, width 512"
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
        ("convnet-instance", "unknown convnet depth 'instance'"),
        ("convnet-3-instanc", "Did you mean 'instance'"),
        ("convnet-3-instance-batch", "unknown option 'batch'"),
        ("resnet-18-none", "unknown option 'none'"),
        ("alexnet-batch", "unknown option 'batch'"),
        ("alexnet-8", "unknown alexnet depth '8'.*Allowed: 5"),
    ],
)
def test_what_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(PotstillError, match=message):
        Net.parse(text)


@pytest.mark.parametrize(
    ("short", "size", "message"),
    [
        ("convnet-6", 32, "ConvNet-6 needs images of at least 64 px, not 32"),
        ("alexnet", 7, "AlexNet needs images of at least 8 px, not 7"),
        ("vgg-11", 31, "VGG-11 needs images of at least 32 px, not 31"),
        ("resnetap-10", 31, "ResNetAP-10, imagenet stem, needs images of at least 32 px, not 31"),
        ("resnetap-10-small", 7, "at least 8 px, not 7"),
        ("resnetap-10-mid-instance", 31, "at least 32 px, not 31"),
        ("resnet-18-instance", 32, "instance norm needs images of more than 32 px, not 32"),
        ("resnet-50-small-instance", 8, "more than 8 px, not 8"),
        ("vit", 40, "patches of 16 px needs images of whole patches, not 40 px"),
        ("vit-w12", 32, "multiple of its 8 heads, not 12"),
    ],
)
def test_what_cannot_be_built(short: str, size: int, message: str) -> None:
    with pytest.raises(PotstillError, match=message):
        build(Net.parse(short), 10, size, generator(0))


def test_an_unknown_norm() -> None:
    with pytest.raises(PotstillError, match="unknown resnet norm 'group'.*Allowed: batch, instance"):
        Net(kind="resnet", depth=18, norm="group")


@pytest.mark.parametrize(
    "short",
    [
        *("convnet-3", "convnet-3-instance", "resnet-18", "resnet-18-small-instance", "resnet-50-w16"),
        *("resnetap-10-small", "alexnet-w32", "vgg-11-w16", "vit-6-small-layer-w64"),
    ],
)
def test_start_values(short: str) -> None:
    spec = Net.parse(short)
    module = build(spec, 10, 32, generator(7))
    for name, layer in module.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            fan_in, fan_out = layer.weight[0].numel(), layer.weight[:, 0].numel()
            replaced = name == "stem" and spec.kind == "resnet" and spec.stem == "small"
            normal = short.startswith("resnet") and name != "head" and not replaced
            check_draw(layer.weight, math.sqrt(2 / fan_out) if normal else 1 / math.sqrt(3 * fan_in), normal)
            if layer.bias is not None:
                check_draw(layer.bias, 1 / math.sqrt(3 * fan_in), False)
        elif isinstance(layer, (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)):
            state = layer.state_dict()
            assert all(value.eq(key in ("weight", "running_var")).all() for key, value in state.items())


def test_token_and_positions_start_standard_normal() -> None:
    module: Any = build(Net.parse("vit-6-small"), 10, 32, generator(7))
    check_draw(module.token, 1.0, True)
    check_draw(module.positions, 1.0, True)


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
