"""Nets against transformers' own, and against slow twins written from the equations."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from potstill.core.seeds import generator
from potstill.nets.checkpoint import Checkpoint
from potstill.nets.fit import Training, fit
from potstill.nets.layers import NORMS, Draws, dropout
from potstill.nets.spec import Net, build


def shaken(short: str, size: int) -> Any:
    """A net in float64 and eval mode whose norms have random scales, shifts and statistics."""
    module = build(Net.parse(short), 5, size, generator(0))
    draw = generator(1)
    for layer in module.modules():
        if isinstance(layer, (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)):
            for name, value in layer.state_dict().items():
                if value.is_floating_point():
                    shift = name in ("bias", "running_mean")
                    value.copy_(torch.rand(value.shape, generator=draw) - 0.5 + (not shift))
    return module.double().eval()


def pictures(size: int, count: int = 2) -> Tensor:
    return torch.rand(count, 3, size, size, generator=generator(2), dtype=torch.float64)


def check(module: Any, images: Tensor, features: Tensor) -> None:
    torch.testing.assert_close(module.embed(images), features, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(module(images), features @ module.head.weight.T + module.head.bias)


def instance(values: Tensor, norm: Any) -> Tensor:
    """(x - mean) / sqrt(variance + eps) for each channel of each image, by definition."""
    out = torch.empty_like(values)
    for image in range(len(values)):
        for channel in range(values.shape[1]):
            plane = values[image, channel]
            normal = (plane - plane.mean()) / torch.sqrt(plane.var(correction=0) + 1e-5)
            out[image, channel] = normal * norm.weight[channel] + norm.bias[channel]
    return out


def batch(values: Tensor, norm: Any) -> Tensor:
    scale = (norm.weight / torch.sqrt(norm.running_var + 1e-5))[:, None, None]
    return (values - norm.running_mean[:, None, None]) * scale + norm.bias[:, None, None]


def convolve(values: Tensor, layer: Any, stride: int = 1) -> Tensor:
    return functional.conv2d(values, layer.weight, layer.bias, stride, layer.weight.shape[-1] // 2)


def mean_pool(values: Tensor, side: int) -> Tensor:
    return values.unfold(2, side, side).unfold(3, side, side).mean((4, 5))


def largest(values: Tensor, side: int) -> Tensor:
    return values.unfold(2, side, side).unfold(3, side, side).amax((4, 5))


@pytest.mark.parametrize("size", [2, 3, 8])
def test_instance_norm_is_pytorchs(size: int) -> None:
    images = torch.randn(3, 6, size, size, generator=generator(0))
    ours, theirs = NORMS["instance"](6), nn.InstanceNorm2d(6, affine=True)
    for layer in (ours, theirs):
        nn.init.normal_(layer.get_parameter("weight"), generator=generator(1))
        nn.init.normal_(layer.get_parameter("bias"), generator=generator(2))
    torch.testing.assert_close(ours(images), theirs(images))
    assert [value.shape for value in ours.parameters()] == [(6,), (6,)]


@pytest.mark.parametrize(
    ("short", "kind", "depths"),
    [("resnet-18-w8", "basic", [2, 2, 2, 2]), ("resnet-50-w8", "bottleneck", [3, 4, 6, 3])],
)
def test_resnet_equals_the_one_in_transformers(short: str, kind: str, depths: list[int]) -> None:
    from transformers import ResNetConfig, ResNetModel

    grown = 1 if kind == "basic" else 4
    widths = [8 * grown, 16 * grown, 32 * grown, 64 * grown]
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=widths, depths=depths, layer_type=kind, hidden_act="relu"
    )
    twin = ResNetModel(config).double().eval()
    ours = shaken(short, 64)
    twin.load_state_dict(dict(zip(twin.state_dict(), paired_values(ours), strict=True)))
    images = pictures(64)
    check(ours, images, twin(ours.normalise(images)).pooler_output.flatten(1))


def paired_values(ours: Any) -> list[Tensor]:
    """Our values in the twin's order, which names a block's shortcut before its convolutions."""
    values = [ours.stem.state_dict(), ours.norm.state_dict()]
    for block in ours.blocks:
        values += [part.state_dict() for part in block.shortcut]
        for place in "123":
            if hasattr(block, f"convolution{place}"):
                values += [getattr(block, f"{part}{place}").state_dict() for part in ("convolution", "norm")]
    return [value for part in values for value in part.values()]


@pytest.mark.parametrize(("stem", "kernel", "pooled"), [("imagenet", 7, 4), ("mid", 3, 2), ("small", 3, 1)])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_resnetap_equals_its_twin(stem: str, kernel: int, pooled: int, norm: str) -> None:
    module, images = shaken(f"resnetap-10-{stem}-{norm}-w4", 64), pictures(64)
    normed = instance if norm == "instance" else batch
    assert module.stem.weight.shape[-1] == kernel
    maps = normed(convolve(module.normalise(images), module.stem), module.norm).relu()
    maps = mean_pool(maps, pooled)
    for stage, block in enumerate(module.blocks):
        inner = normed(convolve(maps, block.convolution1), block.norm1).relu()
        if stage:
            inner = mean_pool(inner, 2)
            maps = normed(mean_pool(convolve(maps, block.shortcut[0]), 2), block.shortcut[2])
        maps = (normed(convolve(inner, block.convolution2), block.norm2) + maps).relu()
    check(module, images, maps.mean((2, 3)))


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_convnet_equals_its_twin(norm: str) -> None:
    module, images = shaken(f"convnet-3-{norm}-w4", 16), pictures(16)
    maps = module.normalise(images)
    for place in range(3):
        maps = convolve(maps, module.blocks[4 * place])
        if norm != "none":
            maps = (instance if norm == "instance" else batch)(maps, module.blocks[4 * place + 1])
        maps = mean_pool(maps.relu(), 2)
    check(module, images, maps.flatten(1))


def test_alexnet_equals_its_twin() -> None:
    module, images = shaken("alexnet-w8", 32), pictures(32)
    layers = [layer for layer in module.blocks if isinstance(layer, nn.Conv2d)]
    assert [(layer.out_channels, layer.kernel_size[0]) for layer in layers] == [
        (8, 5),
        (12, 5),
        (16, 3),
        (12, 3),
        (12, 3),
    ]
    maps = module.normalise(images)
    for place, layer in enumerate(layers):
        maps = convolve(maps, layer).relu()
        if place in (0, 1, 4):
            maps = largest(maps, 2)
    check(module, images, maps.flatten(1))


@pytest.mark.parametrize(
    ("stem", "size"), [("small", 32), ("small", 64), ("imagenet", 64), ("imagenet", 256)]
)
def test_vgg_equals_its_twin(stem: str, size: int) -> None:
    module, images = shaken(f"vgg-11-{stem}-w2", size), pictures(size)
    layers = [layer for layer in module.blocks if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in module.blocks if isinstance(layer, nn.GroupNorm)]
    assert [layer.out_channels for layer in layers] == [2, 4, 8, 8, 16, 16, 16, 16]
    maps = module.normalise(images)
    for place, (layer, norm) in enumerate(zip(layers, norms, strict=True)):
        maps = instance(convolve(maps, layer), norm).relu()
        if place in (0, 1, 3, 5, 7):
            maps = largest(maps, 2)
    check(module, images, (adaptive(maps) if stem == "imagenet" else maps).flatten(1))


def adaptive(maps: Tensor) -> Tensor:
    """The largest value between floor(i s/7) and ceil((i + 1) s/7), for each of 7 x 7 places."""
    side = maps.shape[-1]
    spans = [slice(place * side // 7, -(-(place + 1) * side // 7)) for place in range(7)]
    rows = [torch.stack([maps[:, :, down, across].amax((2, 3)) for across in spans], 2) for down in spans]
    return torch.stack(rows, 2)


def test_vit_with_layer_norm_equals_the_one_in_transformers() -> None:
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=6,
        num_attention_heads=8,
        intermediate_size=32,
        image_size=16,
        patch_size=4,
        qkv_bias=False,
        layer_norm_eps=1e-5,
    )
    ours = shaken("vit-6-small-layer-w32", 16)
    twin = ViTModel(config, add_pooling_layer=False).double().eval()
    linears = [layer for layer in twin.modules() if isinstance(layer, nn.Linear)]
    norms = [layer for layer in twin.modules() if isinstance(layer, nn.LayerNorm)]
    values = [(ours.patches, next(layer for layer in twin.modules() if isinstance(layer, nn.Conv2d)))]
    with torch.no_grad():
        for place, layer in enumerate(ours.layers):
            query, key, value, out, inner, outer = linears[6 * place : 6 * place + 6]
            for part, mix in zip((query, key, value), layer.mix.weight.split(32), strict=True):
                part.weight.copy_(mix)
            values += [(layer.mixed, out), (layer.inner, inner), (layer.outer, outer)]
            values += [(layer.norm1, norms[2 * place]), (layer.norm2, norms[2 * place + 1])]
        for mine, theirs in [*values, (ours.norm, norms[-1])]:
            theirs.load_state_dict(mine.state_dict())
        for name, value in twin.named_parameters():
            if "embeddings" in name and "projection" not in name:
                value.copy_(ours.token if "cls" in name else ours.positions)
    images = pictures(16)
    check(ours, images, twin(ours.normalise(images)).last_hidden_state[:, 0])


def test_vit_without_norm_equals_its_twin() -> None:
    module, images = shaken("vit-w16", 32), pictures(32)
    normal = module.normalise(images)
    for image in range(len(images)):
        cut = [normal[image, :, y : y + 16, x : x + 16] for y in (0, 16) for x in (0, 16)]
        flat = [module.patches.weight.flatten(1) @ patch.flatten() + module.patches.bias for patch in cut]
        tokens = torch.stack([module.token[0, 0], *flat]) + module.positions[0]
        for layer in module.layers:
            query, key, value = (tokens @ part.T for part in layer.mix.weight.split(16))
            heads = []
            for head in range(8):
                own = slice(2 * head, 2 * head + 2)
                weights = (query[:, own] @ key[:, own].T / 2**0.5).exp()
                heads.append(weights / weights.sum(1, keepdim=True) @ value[:, own])
            tokens = tokens + layer.mixed(torch.cat(heads, 1))
            inner = layer.inner(tokens)
            inner = inner * (1 + torch.erf(inner / 2**0.5)) / 2
            tokens = tokens + layer.outer(inner)
        check(module, images[image : image + 1], tokens[:1])


class TestDropout:
    def test_share_and_mean(self) -> None:
        ones = torch.ones(200, 500)
        dropped = dropout(ones, 0.1, generator(0))
        assert dropped.eq(0).float().mean().item() == pytest.approx(0.1, abs=5 * (0.09 / 1e5) ** 0.5)
        torch.testing.assert_close(dropped[dropped > 0], torch.full((int(dropped.count_nonzero()),), 1 / 0.9))
        assert dropout(ones, 0.1, None) is ones

    def test_passes_differ_and_repeat(self) -> None:
        draws, again = Draws(), Draws()
        for one in (draws, again):
            one.reset(generator(3))
        first = [drawn(draws) for _ in range(3)]
        assert len({tuple(values.tolist()) for values in first}) == 3
        assert all(torch.equal(values, drawn(again)) for values in first)
        again.load_state_dict(draws.state_dict())
        assert torch.equal(drawn(draws), drawn(again))
        assert draws.eval()() is None and draws.state[1] == 4

    def test_a_vit_drops_in_training_alone(self) -> None:
        module: Any = build(Net.parse("vit-6-small-w16"), 3, 16, generator(0))
        images = torch.rand(4, 3, 16, 16, generator=generator(1))
        assert not torch.equal(module(images), module(images))
        module.eval()
        assert torch.equal(module(images), module(images))


def drawn(draws: Draws) -> Tensor:
    generator = draws()
    assert generator is not None
    return torch.rand(5, generator=generator)


def test_a_killed_vit_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """Also where something else has drawn from PyTorch's global generator in between."""
    whole = trained(None, 0)
    checkpoint = Checkpoint(path=tmp_path / "checkpoint.pt", identity="vit", seconds=0)
    with pytest.raises(Killed):
        trained(checkpoint, 2)
    torch.rand(3)
    resumed = trained(checkpoint, 0)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


class Killed(Exception):
    pass


def trained(checkpoint: Checkpoint | None, stop: int) -> dict[str, Tensor]:
    module = build(Net.parse("vit-6-small-layer-w16"), 4, 16, generator(0))
    images = torch.randint(256, (12, 3, 16, 16), generator=generator(1), dtype=torch.uint8)

    def listen(step: object) -> None:
        if getattr(step, "index", 0) == stop:
            raise Killed

    fit(
        module,
        images,
        torch.arange(12) % 4,
        classes=4,
        training=Training(epochs=4, batch=5, micro=3),
        generator=generator(2),
        checkpoint=checkpoint,
        on_step=listen,
    )
    return module.state_dict()
