import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from potstill.core.errors import PotstillError
from potstill.data import DATASETS, load
from potstill.data.real import RealData
from potstill.data.source import Source

Make = Callable[..., Path]
GIVEN = {"digits": ("digits", "3,8"), "folder": ("root", "b,a"), "hub": ("x.parquet", "b,a")}


@pytest.fixture
def given(make_folder: Make, tmp_path: Path) -> Callable[[str], str]:
    """A source of each kind with classes a and b, the folder with test images."""

    def source(kind: str) -> str:
        if kind == "digits":
            return "digits"
        if kind == "folder":
            return str(
                make_folder("train/a/1.png", "train/b/1.png", "train/b/2.png", "test/a/1.png", "test/b/2.png")
            )
        buffer = io.BytesIO()
        Image.new("L", (9, 7), 3).save(buffer, "PNG")
        columns = {"image": [buffer.getvalue()] * 3, "label": ["a", "b", "b"]}
        pq.write_table(pa.table(columns), tmp_path / "x.parquet")
        return str(tmp_path / "x.parquet")

    return source


@pytest.fixture(params=sorted(DATASETS))
def kind(request: pytest.FixtureRequest) -> str:
    assert request.param in GIVEN, "a new kind of data set needs a line in GIVEN and in `given`"
    return request.param


def test_every_kind_keeps_the_contract(kind: str, given: Callable[[str], str]) -> None:
    data = load(given(kind))
    assert isinstance(data, RealData)
    assert len(data.classes.keys) == len(data.classes.names) == len(set(data.classes.keys)) > 1
    for split in (data.train, data.test):
        assert len(split) == len(split.ids) == len(set(split.ids)) == len(split.labels)
        assert split.labels.dtype == torch.int64
        assert set(split.labels.tolist()) <= set(range(len(data.classes)))
    assert set(data.train.labels.tolist()) == set(range(len(data.classes)))
    image = data.train.read(0)
    assert image.mode == "RGB"
    pixels = data.train.pixels([0, 1], data.size)
    assert pixels.dtype == torch.uint8 and pixels.shape == (2, 3, data.size, data.size)
    assert torch.equal(pixels[1:], data.train.pixels(torch.tensor([1]), data.size))
    assert isinstance(data.mirror, bool) and data.skipped == ()


def test_every_kind_loads_the_same_twice(kind: str, given: Callable[[str], str]) -> None:
    one, two = (load(given(kind)) for _ in range(2))
    assert one.train.ids == two.train.ids and torch.equal(one.train.labels, two.train.labels)


def test_every_kind_takes_chosen_classes_in_their_order(kind: str, given: Callable[[str], str]) -> None:
    place, classes = GIVEN[kind]
    chosen, whole = load(given(kind), classes=classes), load(given(kind))
    keys = tuple(classes.split(","))
    assert chosen.classes.keys == keys
    assert chosen.name == f"{Path(place).stem}:{classes}"
    for label, key in enumerate(keys):
        rows, old = chosen.train.of_class(label), whole.train.of_class(whole.classes.index(key))
        ids = {chosen.train.ids[row] for row in rows.tolist()}
        assert ids == {whole.train.ids[row] for row in old.tolist()}


def test_every_kind_names_an_unknown_class(kind: str, given: Callable[[str], str]) -> None:
    with pytest.raises(PotstillError, match="unknown class 'zebra'.*Allowed: its classes"):
        load(given(kind), classes="zebra")


def test_every_kind_is_made_from_one_request(kind: str, given: Callable[[str], str]) -> None:
    assert DATASETS[kind](Source(place=given(kind))).train.ids == load(given(kind)).train.ids


def test_a_kind_can_be_written_before_a_path(make_folder: Make) -> None:
    root = make_folder("a/1.png", "b/1.png")
    direct, through = load(f"folder:{root}"), load(f"hub:{root}")
    assert direct.classes == through.classes
    assert torch.equal(direct.train.pixels(None, 12), through.train.pixels(None, 12))


def test_a_folder_called_as_a_kind_needs_a_dot(make_folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_folder("a/1.png", root="digits")
    monkeypatch.chdir(root.parent)
    assert len(load("digits").classes) == 10
    assert load("./digits").classes.keys == ("a",)


def test_a_home_folder_is_found(make_folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(make_folder("a/1.png").parent))
    assert load("~/root").train.ids == ("a/1.png",)


def test_subset_names_are_written_one_way_in_the_datas_name(make_folder: Make) -> None:
    from potstill.data.classes import subset

    root = make_folder(*(f"{key}/1.png" for key in subset("nette")))
    assert load(str(root), classes="Nette").name == "root:imagenette"
    assert load(str(root), classes="n02102040, n01440764").name == "root:n02102040,n01440764"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("digits:foo", "'digits' has no parts: write it without ':foo'"),
        (
            "digit",
            r"no data set 'digit'.*does not exist. Did you mean 'digits'\? Allowed: digits; an existing folder",
        ),
        ("{tmp}/rot", r"Did you mean '.*/root'\?"),
        ("{tmp}/root/train.parqet", "does not exist"),
        ("{tmp}/notes.txt", "neither a folder nor a .parquet file"),
        ("uoft-cs/cifar100", "write 'hub:uoft-cs/cifar100'"),
        ("", "no data set ''"),
        ("folder:", "no such folder: ''"),
        ("hub:", "names no data set"),
    ],
)
def test_a_wrong_source_is_explained(source: str, message: str, make_folder: Make, tmp_path: Path) -> None:
    make_folder("a/1.png")
    (tmp_path / "notes.txt").write_text("about")
    with pytest.raises(PotstillError, match=message):
        load(source.format(tmp=tmp_path))


def test_listing_the_kinds_imports_nothing_heavy() -> None:
    code = "import sys, potstill.data as d; list(d.DATASETS); print({'torch', 'datasets'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"
