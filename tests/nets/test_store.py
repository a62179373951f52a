"""Trained nets survive the disk and say which file is at fault."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from potstill.bundled import models
from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.data.real import Classes
from potstill.nets.spec import Net, build
from potstill.nets.store import load_net, save_net

SPEC = Net(width=8)
CLASSES = Classes(("n1", "n2", "n3"), ("cat", "dog", "owl"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    module = build(SPEC, 3, 16, generator(0)).to(memory_format=torch.channels_last)
    module(torch.rand(8, 3, 16, 16, generator=generator(1)))
    save_net(tmp_path / "net", module, SPEC, CLASSES, 16, {"accuracy": 0.5})
    return tmp_path / "net"


def test_round_trip(folder: Path) -> None:
    stored = load_net(folder)
    assert (stored.spec, stored.classes, stored.size, stored.metrics) == (
        SPEC,
        CLASSES,
        16,
        {"accuracy": 0.5},
    )
    assert not stored.module.training
    assert not any(parameter.requires_grad for parameter in stored.module.parameters())
    module = build(SPEC, 3, 16, generator(0))
    module(torch.rand(8, 3, 16, 16, generator=generator(1)))
    images = torch.rand(5, 3, 16, 16, generator=generator(2))
    torch.testing.assert_close(stored.module(images), module.eval()(images))


def test_images_of_another_side_are_resized_to_the_nets_own(folder: Path) -> None:
    stored = load_net(folder)
    images = torch.rand(5, 3, 40, 40, generator=generator(2), requires_grad=True)
    small = functional.interpolate(images, (16, 16), mode="bilinear", antialias=True)
    assert torch.equal(stored.logits(images), stored.module(small))
    assert torch.equal(stored.logits(small), stored.module(small))
    (gradient,) = torch.autograd.grad(stored.logits(images).sum(), images)
    assert gradient.flatten(1).abs().sum(1).gt(0).all()


def test_narrowed_keeps_the_rows_of_the_classes_asked_for(folder: Path) -> None:
    stored = load_net(folder)
    narrow = stored.narrowed(["n3", "n1"])
    head: Any = narrow.module.head
    images = torch.rand(5, 3, 16, 16, generator=generator(2))
    torch.testing.assert_close(narrow.module(images), stored.module(images)[:, [2, 0]])
    assert narrow.classes == Classes(("n3", "n1"), ("owl", "cat"))
    assert head.out_features == 2
    assert not any(parameter.requires_grad for parameter in narrow.module.parameters())
    with pytest.raises(PotstillError, match="unknown class 'n4'"):
        stored.narrowed(["n1", "n4"])


def test_a_config_from_before_norms_is_read() -> None:
    assert "norm" not in json.loads((models()["digits/teacher"] / "config.json").read_text())["net"]
    stored = load_net("digits/teacher")
    assert stored.spec == Net(width=64, norm="batch") and stored.spec.label == "ConvNet-3, width 64"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(PotstillError, match=f"no such file: .*{name}"):
        load_net(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"net": {"kind": "convnot", "depth": 3, "width": 8, "stem": ""}},
            "config.json.*unknown net 'convnot'",
        ),
        ({"net": {"kind": "convnet", "depth": 6, "width": 8, "stem": ""}}, "config.json.*at least 64 px"),
        (
            {"net": {"kind": "convnet", "depth": 3, "width": 16, "stem": ""}},
            "model.safetensors.*size mismatch",
        ),
        ({"classes": {"keys": ["n1", "n2"], "names": ["cat", "dog"]}}, "model.safetensors.*size mismatch"),
        ({"classes": {"keys": ["n1", "n1"], "names": ["cat", "dog"]}}, "config.json.*more than once"),
        ({"format": 2}, "config.json.*format 2"),
        ({"extra": 1}, "NetConfig setting 'extra' in .*config.json"),
    ],
)
def test_config_at_fault(folder: Path, change: dict[str, object], message: str) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(PotstillError, match=f"(?s){message}"):
        load_net(folder)


def test_weights_at_fault(folder: Path) -> None:
    file = folder / "model.safetensors"
    values = load_file(file)
    del values["head.bias"]
    save_file(values, file)
    with pytest.raises(PotstillError, match="(?s)model.safetensors.*head.bias"):
        load_net(folder)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(PotstillError, match="model.safetensors does not hold"):
        load_net(folder)
