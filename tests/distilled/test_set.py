"""The artefact: what is written can be read, verified, resumed and opened by other tools."""

import hashlib
import io
import json
from pathlib import Path

import datasets
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from potstill.core.errors import PotstillError
from potstill.core.settings import to_plain
from potstill.distilled import DistilledSet, Manifest, Slot, Writer
from potstill.distilled.folders import folder_name

KEYS = ("0", "T-shirt/top", "../etc", "naïve 猫", "CON")


def manifest(**changes):
    settings = {
        "name": "test",
        "method": {"kind": "random", "scale": 1.5},
        "data": {"name": "grains"},
        "classes": {"keys": KEYS, "names": KEYS},
        "images_per_class": 3,
        "size": 8,
        "seed": 4,
    }
    return Manifest(**settings | changes)


def changed(**changes):
    return json.dumps(to_plain(manifest(**changes))).encode()


def image(slot):
    draw = torch.Generator().manual_seed(10 * KEYS.index(slot.key) + slot.index)
    return torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8, generator=draw)


def fill(folder, until=None):
    writer = Writer(folder, manifest())
    for slot in writer.missing[:until]:
        writer.add({slot: (image(slot), {"scores": [0.25, slot.index]})}, seconds=0.5)
    return writer


def test_what_is_written_is_read(tmp_path):
    fill(tmp_path / "set").finish()
    made = DistilledSet.load(tmp_path / "set")
    assert [record.slot for record in made.records] == manifest().slots()
    assert made.records[7].details == {"scores": [0.25, 1]}
    assert torch.equal(made.images(), torch.stack([image(slot) for slot in manifest().slots()]))
    assert made.labels(KEYS).tolist() == [label for label in range(5) for _ in range(3)]
    assert made.manifest.seconds == 7.5 and made.manifest.seconds_per_image == 0.5
    assert made.verify() == []


def test_no_class_key_leaves_the_folder(tmp_path):
    fill(tmp_path / "set").finish()
    files = [file for file in tmp_path.rglob("*.png")]
    assert len(files) == 15 and all((tmp_path / "set" / "train") in file.parents for file in files)


def test_the_first_images_of_a_set_are_a_set(tmp_path):
    fill(tmp_path).finish()
    cut = DistilledSet.load(tmp_path).first(2)
    assert [record.slot.index for record in cut.records] == [0, 1] * 5
    with pytest.raises(PotstillError, match="has 3 images per class, not 4"):
        cut.first(4)


def test_a_half_made_set_goes_on_and_a_torn_line_costs_its_image(tmp_path):
    fill(tmp_path, until=4)
    with pytest.raises(PotstillError, match="unfinished"):
        DistilledSet.load(tmp_path)
    partial = tmp_path / "metadata.partial.jsonl"
    partial.write_text(partial.read_text()[:-20])
    writer = fill(tmp_path, until=0)
    assert len(writer.missing) == 12
    fill(tmp_path).finish()
    fill(tmp_path / "straight").finish()
    assert (tmp_path / "metadata.jsonl").read_text() == (tmp_path / "straight" / "metadata.jsonl").read_text()


def test_a_deleted_image_is_made_again(tmp_path):
    fill(tmp_path, until=4)
    slot = manifest().slots()[1]
    (tmp_path / slot.file_name).unlink()
    assert Writer(tmp_path, manifest()).missing[0] == slot


def damage(folder, how):
    file, metadata = folder / manifest().slots()[1].file_name, folder / "metadata.jsonl"
    lines = metadata.read_bytes().splitlines(keepends=True)
    {
        "last record lost": lambda: metadata.write_bytes(b"".join(lines[:-1])),
        "records overwritten": lambda: metadata.write_bytes(lines[0] + b"\xff\xfe"),
        "index a word": lambda: metadata.write_bytes(
            b"".join(lines).replace(b'"index": 1', b'"index": "1"', 1)
        ),
        "file renamed": lambda: metadata.write_bytes(b"".join(lines).replace(b"00001.png", b"00009.png", 1)),
        "records deleted": metadata.unlink,
        "image deleted": file.unlink,
        "image overwritten": lambda: file.write_bytes(b"other"),
        "image exchanged": lambda: file.write_bytes(file.with_name("00000.png").read_bytes()),
    }[how]()
    return file if how.startswith("image") else metadata


@pytest.mark.parametrize(
    ("how", "lost"),
    [
        ("last record lost", 1),
        ("records overwritten", 14),
        ("index a word", 1),
        ("file renamed", 1),
        ("records deleted", 15),
        ("image deleted", 1),
        ("image overwritten", 1),
        ("image exchanged", 1),
    ],
)
def test_a_damaged_set_is_refused_and_mended(tmp_path, how, lost):
    fill(tmp_path / "sound").finish()
    fill(tmp_path / "set").finish()
    file = damage(tmp_path / "set", how)
    with pytest.raises(PotstillError, match="again mends the set") as caught:
        DistilledSet.load(tmp_path / "set").images()
    assert str(file) in str(caught.value)
    assert len(Writer(tmp_path / "set", manifest()).missing) == lost
    with pytest.raises(PotstillError, match="unfinished"):
        DistilledSet.load(tmp_path / "set")
    assert fill(tmp_path / "set").finish().verify() == []
    for one in [*(tmp_path / "sound").rglob("*.png"), tmp_path / "sound" / "metadata.jsonl"]:
        again = tmp_path / "set" / one.relative_to(tmp_path / "sound")
        assert again.read_bytes() == one.read_bytes()


def exchange(file: Path) -> None:
    """Values of the right names and shapes, of other images."""
    save_file({name: 1 - values for name, values in load_file(file).items()}, file)


HARMS = [lambda file: file.write_bytes(b"other"), Path.unlink, exchange]


@pytest.mark.parametrize("harm", HARMS, ids=["other", "gone", "exchanged"])
def test_images_kept_as_floats_are_mended_too(tmp_path, harm):
    def filled():
        writer = Writer(tmp_path, manifest())
        missing = writer.missing
        floats = {slot: image(slot) / 255 for slot in missing}
        writer.add({slot: (image(slot), {}) for slot in missing}, 0.5, floats)
        return len(missing), writer.finish()

    filled()
    harm(tmp_path / "images.safetensors")
    with pytest.raises(PotstillError, match="images.safetensors.*again mends the set"):
        DistilledSet.load(tmp_path).examples(KEYS)
    made, mended = filled()
    assert made == 15 and mended.verify() == []
    assert torch.equal(
        mended.examples(KEYS)[0], torch.stack([image(slot) / 255 for slot in manifest().slots()])
    )


BAD = {
    "bomb": lambda: png(20_000, 20_000),
    "another size": lambda: png(9, 8),
    "junk": lambda: b"no image",
    "cut short": lambda: png(8, 8)[:40],
}


def png(width: int, height: int) -> bytes:
    held = io.BytesIO()
    Image.new("1", (width, height)).save(held, "PNG")
    return held.getvalue()


@pytest.mark.parametrize("content", BAD)
def test_an_image_that_fits_its_hash_and_not_its_set_is_named(tmp_path, content):
    """A set from elsewhere, whose record is in order."""
    made = fill(tmp_path).finish()
    file, bad = tmp_path / made.records[0].slot.file_name, BAD[content]()
    file.write_bytes(bad)
    metadata = tmp_path / "metadata.jsonl"
    metadata.write_text(metadata.read_text().replace(made.records[0].sha256, hashlib.sha256(bad).hexdigest()))
    with pytest.raises(PotstillError, match=f"{file} is no image of this set: "):
        DistilledSet.load(tmp_path).images()
    with pytest.raises(PotstillError, match="is not as it was made .1 faults.*is no image of this set"):
        DistilledSet.load(tmp_path).require_sound()


def test_a_count_beyond_all_bounds_is_no_long_wait(tmp_path):
    fill(tmp_path).finish()
    (tmp_path / "potstill.json").write_bytes(changed(finished=True, images_per_class=10**15))
    with pytest.raises(PotstillError, match="does not hold a record for each of its images"):
        DistilledSet.load(tmp_path)


@pytest.mark.parametrize("more", ["x\n", None], ids=["noise", "twice"])
def test_a_line_too_many_is_mended(tmp_path, more):
    fill(tmp_path).finish()
    file = tmp_path / "metadata.jsonl"
    sound = file.read_text()
    file.write_text(sound + (more or sound.splitlines(keepends=True)[0]))
    with pytest.raises(PotstillError, match="again mends the set"):
        DistilledSet.load(tmp_path)
    assert not Writer(tmp_path, manifest()).missing
    fill(tmp_path).finish()
    assert file.read_text() == sound and DistilledSet.load(tmp_path).verify() == []


def test_other_settings_are_refused_and_told(tmp_path):
    fill(tmp_path, until=1)
    with pytest.raises(PotstillError, match="method: scale 1.5 -> 2.0"):
        Writer(tmp_path, manifest(method={"kind": "random", "scale": 2.0}))


def test_a_setting_that_came_later_goes_on_where_it_is_off(tmp_path):
    fill(tmp_path, until=4)
    later = {"execution": {"compile": False, "tile": None}, "prune": None}
    assert len(Writer(tmp_path, manifest(method={**manifest().method, **later})).missing) == 15 - 4
    later["execution"]["compile"] = True
    with pytest.raises(PotstillError, match="method: execution"):
        Writer(tmp_path, manifest(method={**manifest().method, **later}))


def test_all_versions_and_devices_that_made_a_set_are_told(tmp_path):
    def filled(until, **made_by):
        writer = Writer(tmp_path, manifest(**made_by))
        for slot in writer.missing[:until]:
            writer.add({slot: (image(slot), {})}, seconds=0.5)
        return writer

    for torch_version, device in (("2.12", "cpu"), ("2.13", "NVIDIA H200"), ("2.12", "cpu"), ("2.13", "cpu")):
        last = filled(4, versions={"torch": torch_version}, device=device)
    made = last.finish()
    assert (made.manifest.versions["torch"], made.manifest.device) == ("2.12, 2.13", "cpu, NVIDIA H200")
    again = filled(0, versions={"torch": "3"}, device="mps").finish()
    assert again.manifest == made.manifest, "nothing was made of these"


def test_an_older_set_that_tells_no_schedule_goes_on(tmp_path):
    older, weights = ({"name": "p", "sha256": "1"},), ({"name": "p", "sha256": "1", "schedule": "2"},)
    Writer(tmp_path, manifest(weights=older))
    assert len(Writer(tmp_path, manifest(weights=weights)).missing) == 15
    other = ({"name": "p", "sha256": "1", "schedule": "3"},)
    Writer(tmp_path / "new", manifest(weights=weights))
    with pytest.raises(PotstillError, match="made with other settings .weights"):
        Writer(tmp_path / "new", manifest(weights=other))


def test_a_set_of_other_data_is_refused_and_an_older_one_tells_no_data(tmp_path):
    known = [{**manifest().data, "sha256": digest} for digest in "ab"]
    Writer(tmp_path / "new", manifest(data=known[0]))
    Writer(tmp_path / "new", manifest(data=known[0]))
    with pytest.raises(PotstillError, match='data: sha256 "a" -> "b"'):
        Writer(tmp_path / "new", manifest(data=known[1]))
    fill(tmp_path / "old", until=4)
    assert len(Writer(tmp_path / "old", manifest(data=known[0])).missing) == 15 - 4


def test_a_strange_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(PotstillError, match="not empty and not a distilled set"):
        Writer(tmp_path, manifest())
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_a_kill_left_of_the_first_write_blocks_nothing(tmp_path):
    (tmp_path / ".potstill.json.123.partial").write_text("{")
    assert len(Writer(tmp_path, manifest()).missing) == 15


def test_verify_finds_every_fault(tmp_path):
    fill(tmp_path).finish()
    slots = manifest().slots()
    (tmp_path / slots[0].file_name).unlink()
    (tmp_path / slots[1].file_name).write_bytes(b"other")
    (tmp_path / slots[0].file_name).with_name("00099.png").write_bytes(b"more")
    faults = DistilledSet.load(tmp_path).verify()
    assert len(faults) == 3
    assert all(
        any(word in fault for fault in faults) for word in ("missing", "altered", "belongs to no record")
    )


def test_other_tools_read_it_as_an_image_folder(tmp_path):
    fill(tmp_path).finish()
    loaded = datasets.load_dataset("imagefolder", data_dir=str(tmp_path), cache_dir=str(tmp_path / "cache"))
    assert loaded["train"].num_rows == 15
    names = loaded["train"].features["label"].names
    assert sorted(names) == sorted(folder_name(key) for key in KEYS)
    assert loaded["train"][0]["image"].size == (8, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "not valid JSON"),
        (b"\xff\xd8", "not valid JSON"),
        (b'{"format": 1}', "lacks name"),
        (b'{"nmae": "x"}', "Did you mean 'name'"),
        (changed(format=2), r"unknown format 2\. Allowed: 1"),
        (changed(classes={"keys": ["a"]}), "classes lacks names"),
        (changed(data={}), "data lacks name"),
        (changed(classes={"keys": ["a", "b"], "names": ["a"]}), "a name for each key"),
        (changed(images_per_class=0), "at least one image per class"),
        (changed(seconds=float("nan")), "NaN is no number of JSON"),
    ],
)
def test_a_broken_manifest_is_named(tmp_path, text, message):
    (tmp_path / "potstill.json").write_bytes(text)
    with pytest.raises(PotstillError, match=message) as caught:
        DistilledSet.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_labels_follow_keys_not_positions(tmp_path):
    fill(tmp_path).finish()
    made = DistilledSet.load(tmp_path)
    backwards = tuple(reversed(KEYS))
    assert made.labels(backwards).tolist() == [4 - label for label in made.labels(KEYS).tolist()]
    with pytest.raises(PotstillError, match="T-shirt/top"):
        made.labels([key for key in KEYS if key != "T-shirt/top"])
    with pytest.raises(PotstillError, match="no images of 1 of the 6 classes asked for: 6; .*--classes 0,"):
        made.labels([*KEYS, "6"])
    assert json.loads((tmp_path / "metadata.jsonl").read_text().splitlines()[0])["class"] == "0"
    assert Slot("0", 1).file_name == "train/0/00001.png"
