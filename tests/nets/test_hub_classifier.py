"""Classifiers of transformers, random and tiny, saved as folders, against transformers itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    ConvNextImageProcessorPil,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
    ViTModel,
)

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.data.classes import imagenet
from potstill.data.real import Classes
from potstill.nets.hub_classifier import HubNet, listed
from potstill.nets.store import load_net

LABELS = ("Tabby cat", "dog", "owl, bird of night", "crane", "crane")
SIDE = 32


def shaken(model: Any) -> Any:
    draw = generator("weights")
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.copy_(0.3 * torch.randn(value.shape, generator=draw))
            if name.endswith("running_var") or "norm" in name and name.endswith("weight"):
                value.abs_().add_(0.5)
    return model.eval()


def resnet(labels: tuple[str, ...] = LABELS) -> Any:
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    config.id2label = dict(enumerate(labels))
    return shaken(ResNetForImageClassification(config))


def vit(labels: tuple[str, ...] = LABELS) -> Any:
    config = vit_config()
    config.id2label = dict(enumerate(labels))
    return shaken(ViTForImageClassification(config))


def vit_config() -> Any:
    # As wide as there are labels, so that other layers have an output for each label too.
    return ViTConfig(
        hidden_size=5,
        num_hidden_layers=2,
        num_attention_heads=1,
        intermediate_size=7,
        image_size=SIDE,
        patch_size=8,
    )


PROCESSORS: dict[str, Any] = {
    "resnet": ConvNextImageProcessorPil(
        size={"shortest_edge": SIDE}, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]
    ),
    "vit": ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}),
}
MODELS = {"resnet": resnet, "vit": vit}


@pytest.fixture(scope="module", params=MODELS)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param) / "teacher"
    for part in (MODELS[request.param](), PROCESSORS[request.param]):
        part.save_pretrained(folder)
    return request.param, folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in (resnet(), PROCESSORS["resnet"]):
        part.save_pretrained(tmp_path / "net")
    return tmp_path / "net"


def photos() -> list[Image.Image]:
    draw = np.random.default_rng(0)
    return [Image.fromarray(draw.integers(256, size=(48, 40, 3), dtype=np.uint8)) for _ in range(3)]


def test_equals_transformers_on_what_its_processor_makes(saved: tuple[str, Path]) -> None:
    kind, folder = saved
    stored, processor = load_net(folder), PROCESSORS[kind]
    assert stored.size == SIDE
    inputs = processor(photos(), return_tensors="pt")["pixel_values"]
    mean, deviation = (torch.tensor(v)[:, None, None] for v in (processor.image_mean, processor.image_std))
    pixels = inputs * deviation + mean
    assert pixels.shape == (3, 3, SIDE, SIDE) and pixels.min() > -1e-6 and pixels.max() < 1 + 1e-6
    with torch.no_grad():
        expected = MODELS[kind]()(pixel_values=inputs).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(stored.module(pixels), expected, rtol=1e-4, atol=1e-4)


def test_equals_the_pipeline_of_transformers(saved: tuple[str, Path]) -> None:
    from transformers import pipeline

    kind, folder = saved
    stored = load_net(folder)
    asked: Any = pipeline("image-classification", model=MODELS[kind](), image_processor=PROCESSORS[kind])
    photo = photos()[0]
    inputs = PROCESSORS[kind](photo, return_tensors="pt")["pixel_values"]
    mean, deviation = (torch.tensor(v)[:, None, None] for v in colours(kind))
    own = stored.module(inputs * deviation + mean).softmax(1)[0]
    found = asked(photo, top_k=5)
    assert sorted(one["label"] for one in found) == sorted(stored.classes.names)
    torch.testing.assert_close(
        torch.tensor([one["score"] for one in found]), own.sort(descending=True).values, rtol=1e-4, atol=1e-4
    )
    order = own.argsort(descending=True).tolist()
    assert [one["label"] for one in found] == [stored.classes.names[place] for place in order]


def colours(kind: str) -> tuple[Any, Any]:
    return PROCESSORS[kind].image_mean, PROCESSORS[kind].image_std


def test_is_a_net_like_any_other(saved: tuple[str, Path]) -> None:
    kind, folder = saved
    stored = load_net(folder)
    module: Any = stored.module
    architecture = {"resnet": "ResNetForImageClassification", "vit": "ViTForImageClassification"}[kind]
    assert stored.spec == HubNet(source="teacher", architecture=architecture)
    assert stored.spec.label == f"{architecture} (teacher)"
    assert not module.training and not any(value.requires_grad for value in module.parameters())
    images = torch.rand(4, 3, SIDE, SIDE, generator=generator(0), requires_grad=True)
    features = module.embed(images)
    assert features.shape == (4, module.head.in_features)
    assert torch.equal(module.head(features), module(images))
    module(images).sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
    assert stored.classes.keys == ("Tabby cat", "dog", "owl, bird of night", "crane#3", "crane#4")
    assert stored.classes.names == LABELS


def test_narrowed(saved: tuple[str, Path]) -> None:
    stored = load_net(saved[1])
    images = torch.rand(4, 3, SIDE, SIDE, generator=generator(0))
    narrow = stored.narrowed(["OWL", "tabby_cat"])
    torch.testing.assert_close(narrow.module(images), stored.module(images)[:, [2, 0]])
    assert narrow.classes == Classes(("OWL", "tabby_cat"), ("owl, bird of night", "Tabby cat"))
    by_name = stored.narrowed(Classes(("n1", "n2"), ("dog", "Owl")))
    torch.testing.assert_close(by_name.module(images), stored.module(images)[:, [1, 2]])
    assert by_name.classes.keys == ("n1", "n2")
    assert stored.narrowed(["crane#4"]).classes.names == ("crane",)
    with pytest.raises(PotstillError, match="'Crane' is no single class.*crane#3, crane#4"):
        stored.narrowed(["Crane"])
    with pytest.raises(PotstillError, match="'OWL' is no single class.*owl, bird of night"):
        stored.narrowed(["OWL", "owl"])
    with pytest.raises(PotstillError, match="unknown class 'horse'"):
        stored.narrowed(["dog", "horse"])


class TestListed:
    def test_imagenets_labels_get_wordnet_ids(self) -> None:
        table = imagenet()
        longer = [
            f"{name}, or so" if place % 3 else f"what {place} is" for place, name in enumerate(table.names)
        ]
        for names in (list(table.names), longer):
            assert listed(dict(enumerate(names))) == Classes(table.keys, tuple(names))

    @pytest.mark.parametrize("order", ["reversed", "sorted", "late"])
    def test_in_another_order_they_get_none(self, order: str) -> None:
        names = list(imagenet().names)
        changed = {
            "reversed": names[::-1],
            "sorted": sorted(names),
            "late": [names[-1], *names[:-1]],
        }[order]
        assert listed(dict(enumerate(changed))).keys[0] == changed[0]

    def test_other_thousands_get_none(self) -> None:
        assert listed({place: f"LABEL_{place}" for place in range(1000)}).keys[0] == "LABEL_0"

    def test_ids_order_labels(self) -> None:
        assert listed({2: "c", 0: "a", 1: "b"}).names == ("a", "b", "c")


def edited(folder: Path, name: str, change: dict[str, object]) -> None:
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_mean": None}, "preprocessor_config.json.*no image_mean"),
        ({"image_mean": [0.5], "image_std": [0.5]}, "must have 3 values"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order is not supported"),
        ({"rescale_factor": 1 / 127.5}, "rescale_factor is not supported"),
        ({"size": {"height": 32, "width": 48}}, "square of one size"),
        ({"size": None}, "square of one size"),
    ],
)
def test_processor_at_fault(folder: Path, change: dict[str, object], message: str) -> None:
    edited(folder, "preprocessor_config.json", change)
    with pytest.raises(PotstillError, match=message):
        load_net(folder)


@pytest.mark.parametrize(
    ("change", "size", "mean"),
    [
        ({"size": 48}, 48, 0.485),
        ({"size": {"shortest_edge": 48}, "do_center_crop": True, "crop_size": 40}, 40, 0.485),
        (
            {"size": {"shortest_edge": 48}, "do_center_crop": True, "crop_size": {"height": 40, "width": 40}},
            40,
            0.485,
        ),
        ({"size": {"shortest_edge": 48}, "do_center_crop": False, "crop_size": 40}, 48, 0.485),
        ({"do_normalize": False}, 32, 0.0),
    ],
)
def test_what_processors_say(folder: Path, change: dict[str, object], size: int, mean: float) -> None:
    edited(folder, "preprocessor_config.json", change)
    stored = load_net(folder)
    module: Any = stored.module
    assert stored.size == size
    assert module.normalise.mean.flatten()[0].item() == pytest.approx(mean)


def test_missing_parts(folder: Path) -> None:
    values = load_file(folder / "model.safetensors")
    head = [name for name in values if name.startswith("classifier")]
    save_file(
        {name: value for name, value in values.items() if name not in head},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(PotstillError, match="lacks values of its classifier: classifier"):
        load_net(folder)
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(PotstillError, match="cannot load an image classifier from .*net"):
        load_net(folder)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(PotstillError, match="cannot load an image classifier"):
        load_net(folder)


def test_no_classifier(tmp_path: Path) -> None:
    ViTModel(vit_config()).save_pretrained(tmp_path / "body")
    PROCESSORS["vit"].save_pretrained(tmp_path / "body")
    with pytest.raises(PotstillError, match="lacks values of its classifier"):
        load_net(tmp_path / "body")


def test_two_heads_are_refused(tmp_path: Path) -> None:
    from transformers import DeiTConfig, DeiTForImageClassificationWithTeacher

    config = DeiTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        image_size=SIDE,
        patch_size=8,
    )
    config.id2label = {place: str(place) for place in range(8)}
    shaken(DeiTForImageClassificationWithTeacher(config)).save_pretrained(tmp_path / "deit")
    PROCESSORS["vit"].save_pretrained(tmp_path / "deit")
    with pytest.raises(PotstillError, match="deit: .*does not end in one linear layer"):
        load_net(tmp_path / "deit")


def test_neither_ours_nor_theirs(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(PotstillError, match="config.json is that of no trained net.*format, model_type"):
        load_net(tmp_path)


def test_an_id_that_is_not_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PotstillError, match="cannot load an image classifier from nobody/nothing"):
        load_net("nobody/nothing")
