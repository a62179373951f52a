"""Sets of others, written as they are found in the wild, are read with every image in its own class."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from potstill.core.errors import PotstillError
from potstill.data.digits import digits
from potstill.data.foreign import ForeignSet, foreign, open_set
from potstill.data.real import Classes, RealData, tensor_split
from potstill.distilled import DistilledSet
from potstill.methods.random import Random
from potstill.run import distill

COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250)}


@pytest.fixture(scope="module")
def real() -> RealData:
    """Three classes told apart by their colour, in an order that is neither sorted nor by name."""
    images = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    for label, colour in enumerate(COLOURS.values()):
        images[label] += torch.tensor(colour, dtype=torch.uint8)[:, None, None]
    split = tensor_split(images, torch.arange(3), "train")
    classes = Classes(("n3", "n1", "n2"), tuple(COLOURS))
    return RealData(name="colours", classes=classes, train=split, test=split, size=8, mirror=True)


def write(
    root: Path, folders: dict[str, str], *, images: int = 2, size: int = 8, suffix: str = "png"
) -> Path:
    """A folder of images: class folder to colour."""
    for folder, colour in folders.items():
        (root / folder).mkdir(parents=True)
        for index in range(images):
            Image.new("RGB", (size, size), COLOURS[colour]).save(
                root / folder / f"{index}.{suffix}", quality=100
            )
    return root


def right(found: ForeignSet, real: RealData) -> bool:
    """Whether every image has its class's colour, other images being impossible to take for it."""
    labels = found.labels(real.classes.keys)
    colours = torch.tensor(list(COLOURS.values()))[labels]
    return bool(((found.images().float().mean((2, 3)) - colours).abs() < 40).all())


NAMED = {"n1": "green", "n2": "blue", "n3": "red"}


@pytest.mark.parametrize(
    ("folders", "order"),
    [
        (NAMED, None),
        ({f"train/{folder}": colour for folder, colour in NAMED.items()}, None),
        ({"RED": "red", "Blue": "blue", "green": "green"}, None),
        ({"N1": "green", "N3": "red", "N2": "blue"}, None),
        ({"00000": "red", "00001": "green", "00002": "blue"}, "data"),
        ({"00000": "green", "00001": "blue", "00002": "red"}, "sorted"),
        ({"0": "blue", "1": "green", "2": "red"}, "names"),
        ({"0": "green", "1": "red", "2": "blue"}, "n1,red,blue"),
    ],
)
def test_every_image_gets_its_own_class(
    folders: dict[str, str], order: str | None, tmp_path: Path, real: RealData
) -> None:
    found = foreign(str(write(tmp_path / "theirs", folders)), real, tmp_path / "runs", order=order)
    assert right(found, real)
    assert (found.manifest.name, found.manifest.images_per_class, found.manifest.size) == ("theirs", 2, 8)
    assert found.folder.parent == tmp_path / "runs" and found.folder.name.startswith("theirs-")
    assert not found.folder.exists()
    reordered = ("n2", "n1", "n3")
    assert found.labels(reordered).tolist() == [
        reordered.index(real.classes.keys[i]) for i in found.labels(real.classes.keys)
    ]


def test_a_hugging_face_data_set(tmp_path: Path, real: RealData) -> None:
    import datasets

    names = ["blue", "red", "green"]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    rows = {"image": [Image.new("RGB", (8, 8), COLOURS[name]) for name in names], "label": [0, 1, 2]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "train.parquet")
    assert right(foreign(str(tmp_path / "train.parquet"), real, tmp_path), real)


def test_positions_are_refused_without_an_order(tmp_path: Path, real: RealData) -> None:
    theirs = write(tmp_path / "theirs", {"00000": "red", "00001": "green", "00002": "blue"})
    with pytest.raises(PotstillError, match="name it with --class-order"):
        foreign(str(theirs), real, tmp_path)


def test_orders_for_what_has_none(tmp_path: Path, real: RealData) -> None:
    with pytest.raises(PotstillError, match="numbers 0 to 2 are, and there are classes called n1"):
        foreign(str(write(tmp_path / "named", NAMED)), real, tmp_path, order="data")
    with pytest.raises(PotstillError, match="there are classes called 7"):
        foreign(str(write(tmp_path / "many", {"0": "red", "7": "red"})), real, tmp_path, order="data")


def test_missing_and_strange_classes(tmp_path: Path, real: RealData) -> None:
    with pytest.raises(PotstillError, match="no images of 1 classes of colours: n2"):
        foreign(str(write(tmp_path / "few", {"n3": "red", "n1": "green"})), real, tmp_path)
    with pytest.raises(PotstillError, match="not those of colours: pink"):
        foreign(str(write(tmp_path / "pink", {**NAMED, "pink": "red"})), real, tmp_path)


def test_first_images_unequal_classes_and_sizes(tmp_path: Path, real: RealData) -> None:
    root = write(tmp_path / "theirs", {"n1": "green", "n2": "blue"}, images=3, suffix="jpg")
    write(root, {"n3": "red"}, images=2, size=12, suffix="jpg")
    found = foreign(str(root), real, tmp_path, size=6)
    assert found.images().shape == (8, 3, 6, 6) and right(found, real)
    assert found.first(3) is found
    cut = found.first(1)
    assert len(cut.images()) == 3 and right(cut, real) and cut.manifest.images_per_class == 1
    with pytest.raises(PotstillError, match="2 images of its smallest class, not 4"):
        found.first(4)


def test_one_of_ours_is_opened_as_ours(tmp_path: Path) -> None:
    real = digits().select(["0", "1"])
    distill(Random(), real, tmp_path / "ours", name="ours", images_per_class=1, seed=0)
    assert isinstance(open_set(str(tmp_path / "ours"), real, tmp_path), DistilledSet)
    by_key = foreign(str(tmp_path / "ours"), real, tmp_path)
    ours = DistilledSet.load(tmp_path / "ours")
    assert torch.equal(by_key.images(), ours.images())
    assert torch.equal(by_key.labels(real.classes.keys), ours.labels(real.classes.keys))
