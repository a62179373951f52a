"""What holds for every kind of net, with every stem and norm."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from potstill.core.seeds import generator
from potstill.data.real import Classes
from potstill.evaluation.protocols.rded import RATES
from potstill.nets import NETS
from potstill.nets.predict import predict
from potstill.nets.spec import Net, build, hollow
from potstill.nets.store import load_net, save_net

SPECS = [
    Net(kind=kind, stem=stem, norm=norm, depth=NETS[kind].depths[0], width=8)
    for kind in NETS
    for stem in NETS[kind].stems
    for norm in NETS[kind].norms
]
SPECS.append(Net(kind="resnet", depth=50, width=8))
SIDE = 64


def net(spec: Net) -> Any:
    return build(spec, 7, SIDE, generator(0))


def pictures(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=generator(1))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.short)
class TestEveryNet:
    def test_images_in_logits_out(self, spec: Net) -> None:
        module, images = net(spec), pictures().requires_grad_()
        logits = module(images)
        assert logits.shape == (4, 7)
        logits.square().sum().backward()
        assert images.grad is not None and images.grad.abs().sum(1).gt(0).float().mean() > 0.9
        assert all(parameter.grad is not None for parameter in module.parameters())

    def test_one_image_in_eval_mode_counts_the_same_alone(self, spec: Net) -> None:
        module, images = net(spec).eval(), pictures()
        torch.testing.assert_close(module(images[:1]), module(images)[:1], rtol=1e-4, atol=1e-5)

    def test_predicting_in_parts_is_predicting(self, spec: Net) -> None:
        module, images = net(spec).eval(), pictures(35)
        logits = predict(module, images)
        assert not logits.requires_grad
        torch.testing.assert_close(logits, module(images), rtol=1e-4, atol=1e-5)

    def test_head_of_embed(self, spec: Net) -> None:
        module, images = net(spec).eval(), pictures()
        features = module.embed(images)
        assert isinstance(module.head, nn.Linear) and features.shape == (4, module.head.in_features)
        assert torch.equal(module.head(features), module(images))
        assert torch.allclose(features @ module.head.weight.T + module.head.bias, module(images), atol=1e-5)

    def test_normalises_itself(self, spec: Net) -> None:
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        pixels = torch.stack((mean, mean + deviation))[:, :, None, None].expand(2, 3, SIDE, SIDE)
        normal = net(spec).normalise(pixels)
        torch.testing.assert_close(
            normal, torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 3, SIDE, SIDE)
        )

    def test_same_generator_same_bits_and_nothing_global(self, spec: Net) -> None:
        before = torch.random.get_rng_state()
        first, again, other = net(spec), net(spec), build(spec, 7, SIDE, generator(2))
        logits = first(pictures())
        assert torch.equal(logits, again(pictures()))
        assert not torch.equal(logits, other(pictures()))
        assert torch.equal(before, torch.random.get_rng_state())
        values = [module.state_dict() for module in (first, again)]
        assert all(torch.equal(values[0][key], values[1][key]) for key in values[0])

    def test_training_goes_on_from_its_values_to_the_same_bits(self, spec: Net) -> None:
        module, twin = net(spec), build(spec, 7, SIDE, generator(3))
        module(pictures())
        twin.load_state_dict(module.state_dict())
        assert torch.equal(module(pictures()), twin(pictures()))

    def test_saved_and_read(self, spec: Net, tmp_path: Path) -> None:
        module = net(spec)
        module(pictures())
        keys = tuple("abcdefg")
        save_net(tmp_path, module, spec, Classes(keys, keys), SIDE, {})
        stored = load_net(tmp_path)
        assert stored.spec == spec
        torch.testing.assert_close(stored.module(pictures()), module.eval()(pictures()), rtol=1e-4, atol=1e-5)

    def test_memory_order_changes_nothing(self, spec: Net) -> None:
        module, images = net(spec).eval(), pictures()
        expected = module(images)
        for order in (torch.contiguous_format, torch.channels_last):
            moved: Any = module.to(memory_format=order)  # pyright: ignore[reportCallIssue]
            found = moved(images.contiguous(memory_format=order))
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    def test_construction_holds_no_values(self, spec: Net) -> None:
        shape: Any = {"depth": spec.depth, "width": spec.width, "stem": spec.stem, "norm": spec.norm}
        with torch.device("meta"):
            module: nn.Module = NETS[spec.kind](**shape, classes=7, size=SIDE)
        tensors = module.state_dict()
        assert tensors and all(value.is_meta for value in tensors.values())
        assert {name: value.shape for name, value in tensors.items()} == {
            name: value.shape for name, value in hollow(spec, 7, SIDE).state_dict().items()
        }

    def test_has_a_learning_rate(self, spec: Net) -> None:
        assert spec.kind in RATES
