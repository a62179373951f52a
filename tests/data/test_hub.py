import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from potstill.core.errors import PotstillError
from potstill.data.hub import hub_data
from potstill.data.real import RealData
from potstill.data.source import Source

PETS = datasets.ClassLabel(names=["dog", "cat"])


def level(value: int) -> Image.Image:
    return Image.new("RGB", (8, 8), (value, value, value))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pets(
    labels: Sequence[object], label: object = PETS, column: str = "label", first: int = 0
) -> datasets.Dataset:
    """Row i is a picture of level `first` + i."""
    features = datasets.Features({"image": datasets.Image(), column: label})
    rows = {"image": [level(first + row) for row in range(len(labels))], column: list(labels)}
    return datasets.Dataset.from_dict(rows, features=features)


def table(path: Path, columns: Mapping[str, Sequence[object]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(columns)), path)
    return str(path)


def load(place: object, **options: object) -> RealData:
    return hub_data(Source(place=str(place), **options))  # pyright: ignore[reportArgumentType]


def levels(data: RealData) -> list[int]:
    return data.train.pixels(None, 8)[:, 0, 0, 0].tolist()


def test_parquet_files_named_by_split(tmp_path: Path, no_network: None) -> None:
    pets([1, 0, 1]).to_parquet(tmp_path / "pets" / "train.parquet")
    pets([0, 1], first=50).to_parquet(tmp_path / "pets" / "test.parquet")
    data = load(tmp_path / "pets")
    assert (data.name, data.classes.keys, data.size, data.mirror) == ("pets", ("dog", "cat"), 8, True)
    assert data.train.labels.tolist() == [1, 0, 1] and data.test.labels.tolist() == [0, 1]
    assert levels(data) == [0, 1, 2]
    assert data.test.ids == ("test/0", "test/1")
    assert data.test.read(1).getpixel((0, 0)) == (51, 51, 51)


def test_shards_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for shard in (0, 2, 10):
        pets([0, 1], first=shard * 10).to_parquet(tmp_path / f"train-{shard}.parquet")
    assert levels(load(tmp_path)) == [0, 1, 20, 21, 100, 101]


@pytest.mark.parametrize(
    ("files", "test"),
    [
        (["train-00000-of-00001.parquet", "validation-00000-of-00001.parquet"], "validation"),
        (["train.parquet", "val.parquet"], "val"),
        (["train.parquet", "val.parquet", "test.parquet"], "test"),
        (["data/train-00000-of-00001-abc.parquet", "data/test-00000-of-00001-abc.parquet"], "test"),
        (["0000.parquet", "0001.parquet"], None),
        (["trainees.parquet"], None),
    ],
)
def test_file_names_tell_the_splits(files: list[str], test: str | None, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for file in files:
        pets([0, 1]).to_parquet(tmp_path / file)
    data = load(tmp_path)
    assert data.test.ids == (() if test is None else (f"{test}/0", f"{test}/1"))
    assert len(data.train) == (2 * len(files) if test is None else 2)


def test_unclear_files_beside_clear_ones_are_named(tmp_path: Path) -> None:
    for name in ("train", "more"):
        pets([0, 1]).to_parquet(tmp_path / f"{name}.parquet")
    with pytest.raises(PotstillError, match=r"unclear parquet files: more\.parquet"):
        load(tmp_path)


def test_one_file_and_another_to_test_on(tmp_path: Path) -> None:
    pets([0, 1]).to_parquet(tmp_path / "pets.parquet")
    pets([1], first=9).to_parquet(tmp_path / "other" / "train.parquet")
    assert load(tmp_path / "pets.parquet").name == "pets"
    assert len(load(tmp_path / "pets.parquet").test) == 0
    with pytest.raises(PotstillError, match="no test images of 1 classes: dog"):
        load(tmp_path / "pets.parquet", test=str(tmp_path / "other"))
    data = load(tmp_path / "pets.parquet", test=str(tmp_path / "other" / "train.parquet"), classes="cat")
    assert data.test.labels.tolist() == [0] and data.test.read(0).getpixel((0, 0)) == (9, 9, 9)
    with pytest.raises(PotstillError, match="no test images in .*nowhere"):
        load(tmp_path / "pets.parquet", test=str(tmp_path / "nowhere"))


def test_a_split_to_test_on_can_be_named(tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        pets([0, 1]).to_parquet(tmp_path / f"{name}.parquet")
    assert load(tmp_path, test="val").test.ids == ("val/0", "val/1")


def test_an_unlabelled_test_split_is_passed_over(tmp_path: Path) -> None:
    pets([0, 1]).to_parquet(tmp_path / "train.parquet")
    pets([-1, -1]).to_parquet(tmp_path / "test.parquet")
    pets([1, 0]).to_parquet(tmp_path / "val.parquet")
    assert load(tmp_path).test.ids == ("val/0", "val/1")


@pytest.mark.parametrize("labels", [[0, -1], [0, None]])
def test_unlabelled_training_rows_are_an_error(labels: list[object], tmp_path: Path) -> None:
    pets(labels).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(PotstillError, match="train: 1 of 2 rows have no label in column 'label'"):
        load(tmp_path)


def test_saved_to_disk(tmp_path: Path, no_network: None) -> None:
    datasets.DatasetDict({"train": pets([0, 1]), "test": pets([1, 0])}).save_to_disk(tmp_path / "both")
    pets([1, 0, 0]).save_to_disk(tmp_path / "one")
    assert load(tmp_path / "both").test.labels.tolist() == [1, 0]
    assert load(tmp_path / "one").train.labels.tolist() == [1, 0, 0]


def test_an_image_folder_through_datasets(tmp_path: Path, no_network: None) -> None:
    for part in ("train", "test"):
        for key, value in (("cat", 3), ("dog", 4)):
            (tmp_path / "pets" / part / key).mkdir(parents=True)
            level(value).save(tmp_path / "pets" / part / key / "1.png")
    data = load(tmp_path / "pets")
    assert data.classes.keys == ("cat", "dog") and levels(data) == [3, 4]
    assert data.test.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("labels", "keys", "expected"),
    [
        ([7, 5, 10, 5], ("5", "7", "10"), [1, 0, 2, 0]),
        (["dog", "cat", "dog"], ("cat", "dog"), [1, 0, 1]),
        (["c10", "c9"], ("c9", "c10"), [1, 0]),
    ],
)
def test_labels_without_names_name_themselves(
    labels: list[object], keys: tuple[str, ...], expected: list[int], tmp_path: Path
) -> None:
    images = [encoded(level(row)) for row in range(len(labels))]
    data = load(table(tmp_path / "x.parquet", {"image": images, "label": labels}))
    assert data.classes.keys == keys and data.train.labels.tolist() == expected
    assert levels(data) == list(range(len(labels)))


def test_a_test_label_that_training_lacks_is_named(tmp_path: Path) -> None:
    table(tmp_path / "train.parquet", {"image": [encoded(level(0))], "label": ["a"]})
    table(tmp_path / "test.parquet", {"image": [encoded(level(0))], "label": ["z"]})
    with pytest.raises(PotstillError, match="test: column 'label' holds classes that training lacks: z"):
        load(tmp_path)


def test_test_images_in_another_column_are_named(tmp_path: Path) -> None:
    place = table(tmp_path / "a.parquet", {"image": [encoded(level(0))], "label": [0]})
    other = table(tmp_path / "b.parquet", {"img": [encoded(level(0))], "label": [0]})
    with pytest.raises(PotstillError, match="test has no column 'image'; it has img, label"):
        load(place, test=other)


def test_bytes_and_path_without_a_declared_type_are_images(tmp_path: Path) -> None:
    cells: list[object] = [
        {"bytes": encoded(level(4)), "path": None},
        {"bytes": encoded(level(6)), "path": "y.png"},
    ]
    assert levels(load(table(tmp_path / "x.parquet", {"picture": cells, "y": [0, 1]}))) == [4, 6]


def test_files_that_number_their_classes_differently_are_refused(tmp_path: Path) -> None:
    pets([0, 1]).to_parquet(tmp_path / "train.parquet")
    pets([0, 1], datasets.ClassLabel(names=["cat", "dog"])).to_parquet(tmp_path / "test.parquet")
    with pytest.raises(
        PotstillError, match=r"test\.parquet|train\.parquet numbers its classes otherwise than"
    ):
        load(tmp_path)


def test_other_test_files_that_number_their_classes_differently_are_read_by_key(tmp_path: Path) -> None:
    pets([0, 1]).to_parquet(tmp_path / "a.parquet")
    pets([0, 0, 1], datasets.ClassLabel(names=["cat", "dog"])).to_parquet(tmp_path / "b.parquet")
    data = load(tmp_path / "a.parquet", test=str(tmp_path / "b.parquet"))
    assert [data.classes.keys[label] for label in data.test.labels.tolist()] == ["cat", "cat", "dog"]


def test_every_image_mode_is_read_as_in_folders(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    images = [
        encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 0))),
        encoded(Image.fromarray(np.full((8, 8), 25700, dtype=np.uint16))),
        encoded(Image.new("L", (8, 16), 7), exif=exif),
    ]
    data = load(table(tmp_path / "x.parquet", {"image": images, "label": [0, 1, 1]}))
    assert [data.train.read(row).getpixel((0, 0)) for row in range(3)] == [(255,) * 3, (100,) * 3, (7,) * 3]
    assert data.train.read(2).size == (16, 8)
    assert data.size == 256


def test_broken_images_are_named_or_skipped(tmp_path: Path) -> None:
    images: list[object] = [encoded(level(0)), b"no image", None, encoded(level(3))]
    place = table(tmp_path / "x.parquet", {"image": images, "label": [0, 0, 1, 1]})
    with pytest.raises(PotstillError) as caught:
        load(place)
    assert "2 of 4 images" in str(caught.value)
    assert f"{place}/train/1: not an image" in str(
        caught.value
    ) and f"{place}/train/2: its 'image' is empty" in str(caught.value)
    data = load(place, skip_bad=True)
    assert data.train.ids == ("train/0", "train/3") and levels(data) == [0, 3]
    assert data.skipped == (f"{place}/train/1", f"{place}/train/2")


def test_a_broken_image_beyond_the_sample_is_named_when_read_and_found_by_skip_bad(tmp_path: Path) -> None:
    images: list[object] = [encoded(level(row)) for row in range(200)]
    images[1] = b"no image"
    place = table(tmp_path / "x.parquet", {"image": images, "label": [0, 1] * 100})
    with pytest.raises(PotstillError, match="train/1"):
        load(place).train.pixels(None, 8)
    assert load(place, skip_bad=True).skipped == (f"{place}/train/1",)


def test_what_is_no_parquet_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_text("no parquet")
    with pytest.raises(PotstillError, match=r"train\.parquet is not a valid parquet file"):
        load(tmp_path)
    (tmp_path / "x.csv").write_text("a,b")
    with pytest.raises(PotstillError, match=r"x\.csv is no \.parquet file"):
        load(tmp_path / "x.csv")


def test_no_place_is_explained() -> None:
    with pytest.raises(PotstillError, match="names no data set; write hub:ID"):
        load("")


def test_a_hub_id_that_cannot_be_had_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PotstillError, match="cannot load nobody/nothing:x with Hugging Face datasets"):
        load("nobody/nothing:x")


def test_paths_with_brackets_and_spaces(tmp_path: Path) -> None:
    (tmp_path / "my data [1]*").mkdir()
    pets([0, 1]).to_parquet(tmp_path / "my data [1]*" / "train.parquet")
    assert len(load(tmp_path / "my data [1]*").train) == 2


def test_digits_by_name_are_not_mirrored(tmp_path: Path) -> None:
    pets([0, 1], datasets.ClassLabel(names=["0", "1"])).to_parquet(tmp_path / "train.parquet")
    assert not load(tmp_path).mirror


def test_the_1000_classes_of_the_hubs_imagenet_get_their_wordnet_ids(tmp_path: Path) -> None:
    names = ["tench, Tinca tinca", *map(str, range(998)), "toilet tissue, toilet paper, bathroom tissue"]
    pets([0, 217, 999], datasets.ClassLabel(names=names)).to_parquet(tmp_path / "train.parquet")
    data = load(tmp_path, classes="n15075141,n01440764")
    assert data.classes.names == ("toilet paper", "tench") and data.train.ids == ("train/0", "train/2")


def test_loading_is_silent_and_leaves_progress_bars_as_they_were(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pets([0, 1]).to_parquet(tmp_path / "train.parquet")
    capfd.readouterr()
    before = datasets.are_progress_bars_disabled()
    load(tmp_path)
    assert datasets.are_progress_bars_disabled() == before
    assert capfd.readouterr() == ("", "")


def test_no_row_reaches_for_a_file_elsewhere(tmp_path: Path) -> None:
    """A table that somebody else made may name its own images, and none of the reader's."""
    data, private = tmp_path / "data", tmp_path / "private.png"
    (data / "own").mkdir(parents=True)
    own = data / "own" / "one.png"
    for file in (own, private):
        file.write_bytes(encoded(level(3)))
    (data / "link.png").symlink_to(private)
    for named, read in ((own, True), (private, False), (data / "own" / ".." / ".." / "private.png", False)):
        held = [{"bytes": None, "path": str(named)}, {"bytes": encoded(level(5)), "path": None}]
        table(data / "train.parquet", {"image": held, "label": ["a", "b"]})
        if read:
            assert levels(load(data)) == [3, 5]
        else:
            with pytest.raises(
                PotstillError, match=f"names {private.resolve()}, which is no part of the data"
            ):
                load(data)
    held = [{"bytes": None, "path": str(data / "link.png")}, {"bytes": encoded(level(5)), "path": None}]
    table(data / "train.parquet", {"image": held, "label": ["a", "b"]})
    with pytest.raises(PotstillError, match="which is no part of the data"):
        load(data)


def test_data_survive_a_process_border(tmp_path: Path) -> None:
    pets([0, 1, 1]).to_parquet(tmp_path / "train.parquet")
    received = pickle.loads(pickle.dumps(load(tmp_path, classes="cat")))
    assert levels(received) == [1, 2]
