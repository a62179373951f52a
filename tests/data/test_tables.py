from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
import torch
from datasets import ClassLabel, Features, Value

from potstill.core.errors import PotstillError
from potstill.data import load
from potstill.data.tables import find_columns

BYTES_AND_PATH = {"bytes": Value("binary"), "path": Value("string")}
PETS = ClassLabel(names=["dog", "cat"])


@pytest.mark.parametrize(
    ("features", "found"),
    [
        ({"image": datasets.Image(), "label": PETS}, ("image", "label")),
        ({"photograph": datasets.Image(), "species": PETS}, ("photograph", "species")),
        ({"picture": BYTES_AND_PATH, "y": Value("int64")}, ("picture", "y")),
        ({"jpg": Value("binary"), "cls": Value("int16")}, ("jpg", "cls")),
        ({"img": Value("large_binary"), "target": Value("string")}, ("img", "target")),
        ({"img": datasets.Image(), "coarse_label": PETS, "fine_label": PETS}, ("img", "fine_label")),
        ({"image": datasets.Image(), "mask": datasets.Image(), "label": PETS}, ("image", "label")),
        ({"image": datasets.Image(), "label": Value("string"), "labels": Value("uint8")}, ("image", "label")),
        ({"image": datasets.Image(), "label": Value("int64"), "species": PETS}, ("image", "species")),
    ],
)
def test_columns_are_found_by_type_and_then_by_name(
    features: dict[str, object], found: tuple[str, str]
) -> None:
    assert find_columns(Features(features), "pets") == found


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            {"image": datasets.Image(), "species": Value("string")},
            "pets: no column is plainly the label. Columns: image .*, species .*Names that decide: label.*fine_label",
        ),
        ({"image": datasets.Image(), "label": Value("float32")}, "plainly the label"),
        ({"image": datasets.Image(), "breed": PETS, "colour": PETS}, "plainly the label"),
        ({"text": Value("string"), "label": PETS}, "plainly the image. Columns: text .*, label"),
        ({"left": datasets.Image(), "right": datasets.Image(), "label": PETS}, "plainly the image"),
    ],
)
def test_columns_that_do_not_tell_are_listed(features: dict[str, object], message: str) -> None:
    with pytest.raises(PotstillError, match=message):
        find_columns(Features(features), "pets")


def test_cifar10(shared_data: Callable[[str], Path], no_network: None) -> None:
    data = load(str(shared_data("cifar10")))
    assert data.classes.keys[:3] == ("airplane", "automobile", "bird")
    assert (data.name, data.size, len(data.train), len(data.test)) == ("cifar10", 32, 50000, 10000)
    assert torch.equal(data.test.labels.bincount(), torch.full((10,), 1000))
    assert data.train.pixels(range(3), 32).shape == (3, 3, 32, 32)


def test_tiny_imagenet_100(shared_data: Callable[[str], Path], no_network: None) -> None:
    data = load(str(shared_data("tiny-imagenet-100")))
    assert (data.size, len(data.train), len(data.test), len(data.classes)) == (64, 50000, 5000, 100)
    assert data.classes.names[data.classes.index("n02099601")] == "Golden Retriever"
    assert data.test.ids[0] == "val/0"
    assert data.train.pixels([0, 49999], 64).shape == (2, 3, 64, 64)
