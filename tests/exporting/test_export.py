"""What is exported loads by the libraries that it is for, whole or not at all, under terms that are told."""

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
import webdataset
import yaml
from exporting.keys import EACH, KEYS, exact, fill
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from potstill import data
from potstill.cli import app
from potstill.core.errors import PotstillError
from potstill.distilled import DistilledSet, Slot
from potstill.exporting import FORMATS
from potstill.exporting.export import export
from potstill.labels.views import ViewLabels

SLOTS = [Slot(key, index) for key in KEYS for index in range(EACH)]


def pixels(slot):
    """The 8-bit image of a place, [8, 8, 3], from its definition."""
    return (exact(slot).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def written(kind, source, out, **settings):
    export(source, out, FORMATS[kind](**settings))
    return out


def same(images, slots):
    return len(images) == len(slots) and all(
        np.array_equal(np.asarray(image.convert("RGB")), pixels(slot))
        for image, slot in zip(images, slots, strict=True)
    )


@pytest.fixture
def load(tmp_path):
    """`datasets.load_dataset` with a cache of its own."""

    def loaded(*words, **settings):
        return datasets.load_dataset(*words, **settings, cache_dir=str(tmp_path / "cache"))

    return loaded


@pytest.mark.parametrize("size", [1000, 7])
def test_datasets_loads_a_hugging_face_export(hostile, tmp_path, load, size):
    out = written("huggingface", hostile, tmp_path / "out", shard_size=size)
    assert len(list((out / "data").iterdir())) == -(-len(SLOTS) // size)
    found = load(str(out))
    assert list(found) == ["train"]
    train = found["train"]
    assert train.features["label"].names == list(KEYS)
    assert [(KEYS[row["label"]], row["index"]) for row in train] == [(one.key, one.index) for one in SLOTS]
    assert same(train["image"], SLOTS)
    assert train[1]["concepts"] == ["long ears", "🐾"] and train[1]["scores"] == [0.25, 1]
    assert train[0]["concepts"] == [] and train[0]["scores"] is None
    raw = train.cast_column("image", datasets.Image(decode=False))
    assert [hashlib.sha256(row["image"]["bytes"]).hexdigest() for row in raw] == train["sha256"][:]


@pytest.mark.parametrize("size", [1000, 7])
def test_webdataset_loads_a_webdataset_export(hostile, tmp_path, size):
    out = written("webdataset", hostile, tmp_path / "out", shard_size=size)
    index = json.loads((out / "index.json").read_text())
    assert [one["key"] for one in index["classes"]] == list(KEYS)
    assert sum(one["images"] for one in index["shards"]) == index["images"] == len(SLOTS)
    shards = [str(out / one["file"]) for one in index["shards"]]
    assert shards == sorted(map(str, out.glob("*.tar")))
    read = webdataset.WebDataset(shards, shardshuffle=False).decode("pil")
    rows = list(read.to_tuple("__key__", "png", "cls", "json"))
    assert [key for key, *_ in rows] == [f"{number:06d}" for number in range(len(SLOTS))]
    assert [(KEYS[label], about["class"], about["index"]) for *_, label, about in rows] == [
        (one.key, one.key, one.index) for one in SLOTS
    ]
    assert same([image for _, image, *_ in rows], SLOTS)


def test_datasets_loads_a_webdataset_export(hostile, tmp_path, load):
    train = load(str(written("webdataset", hostile, tmp_path / "out", shard_size=7)))["train"]
    assert [KEYS[label] for label in train["cls"]] == [one.key for one in SLOTS]
    assert same(train["png"], SLOTS)


def test_potstill_reads_its_own_hugging_face_export(hostile, tmp_path):
    found = data.load(str(written("huggingface", hostile, tmp_path / "out", shard_size=7)))
    assert found.classes.keys == KEYS
    assert found.train.labels.tolist() == [KEYS.index(one.key) for one in SLOTS]
    expected = torch.stack([torch.from_numpy(pixels(one)).permute(2, 0, 1) for one in SLOTS])
    assert torch.equal(found.train.pixels(None, 8), expected)


def test_shards_are_the_same_bytes_and_nobodys(hostile, tmp_path):
    one, two = (written("webdataset", hostile, tmp_path / name, shard_size=20) for name in ("a", "b"))
    for file in one.glob("*.tar"):
        assert file.read_bytes() == (two / file.name).read_bytes()
        for member in tarfile.open(file):
            assert member.isreg() and not any((member.mtime, member.uid, member.gid, member.uname))


def image_folder(root):
    """The rule of torchvision's ImageFolder: labels are places among the sorted names of the class folders."""
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    return [
        (label, Image.open(file))
        for label, name in enumerate(names)
        for file in sorted((Path(root) / name).iterdir())
    ]


def test_image_folder_readers_load_a_folder_export(hostile, tmp_path, load):
    out = written("folder", hostile, tmp_path / "out")
    key = {one["label"]: one["key"] for one in json.loads((out / "classes.json").read_text())}
    assert sorted(key.values()) == sorted(KEYS)
    train = load("imagefolder", data_dir=str(out))["train"]
    for rows in (image_folder(out / "train"), [(row["label"], row["image"]) for row in train]):
        keys = [key[label] for label, _ in rows]
        assert same([image for _, image in rows], [Slot(one, at % EACH) for at, one in enumerate(keys)])
        assert sorted(keys) == sorted(one.key for one in SLOTS)
    assert DistilledSet.load(out).verify() == []
    assert not (out / "evaluations").exists()


@pytest.mark.parametrize("kind", list(FORMATS))
def test_no_class_key_becomes_a_path(hostile, tmp_path, kind):
    out = written(kind, hostile, tmp_path / "deep/er/out")
    assert [file.name for file in tmp_path.iterdir()] == ["deep"]
    assert list(out.parent.iterdir()) == [out]
    for file in out.rglob("*"):
        assert not set(file.name) & set('\\:*?"<>|{}\n') and file.name.strip(" .") == file.name.strip()


@pytest.mark.parametrize("kind", list(FORMATS))
def test_exact_images_and_soft_labels_go_along(hostile, tmp_path, load, kind):
    out = written(kind, hostile, tmp_path / "out")
    held = load_file(out / "images.safetensors")
    assert all(torch.equal(held[slot.file_name], exact(slot)) for slot in SLOTS)
    in_order = torch.stack([held[slot.file_name] for slot in SLOTS])
    labels = ViewLabels.load(out, in_order, KEYS)
    assert labels.fingerprint == ViewLabels.load(hostile, in_order, KEYS).fingerprint
    card = (out / "README.md").read_text()
    assert "`labels.safetensors` holds" in card and "`images.safetensors` holds" in card
    (record,) = out.rglob("potstill.json")
    assert record.read_bytes() == (hostile / "potstill.json").read_bytes()
    assert str(record.relative_to(out)) in card


def test_a_set_without_them_has_no_word_of_them(tmp_path):
    fill(tmp_path / "set").finish()
    out = written("huggingface", tmp_path / "set", tmp_path / "out")
    assert "labels.safetensors" not in (out / "README.md").read_text()


@pytest.mark.parametrize("kind", list(FORMATS))
def test_the_loading_lines_of_a_card_work(hostile, tmp_path, monkeypatch, kind):
    out = written(kind, hostile, tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    names: dict = {}
    exec((out / "README.md").read_text().split("```python\n")[1].split("```")[0], names)
    if kind == "webdataset":
        assert names["label"] == 0 and names["about"]["class"] == "tench"
        assert np.array_equal(np.asarray(names["image"]), pixels(SLOTS[0]))
    else:
        assert len(names["train"]) == len(SLOTS)


def test_a_card_names_licences_and_warns(hostile, tmp_path):
    done = export(hostile, tmp_path / "out", FORMATS["huggingface"](), license="cc-by-4.0")
    text = (tmp_path / "out/README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == "cc-by-4.0"
    assert front["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]
    assert "| facebook/DiT-XL-2-256 | [cc-by-nc-4.0](" in text
    assert "| imagenet-1k:imagewoof | [imagenet](" in text
    assert len(done.warnings) == 2 and all("no commercial use" in one for one in done.warnings)
    assert all(one in text for one in done.warnings)


def test_no_licence_is_guessed(hostile, tmp_path):
    for kind in FORMATS:
        text = (written(kind, hostile, tmp_path / kind) / "README.md").read_text()
        assert yaml.safe_load(text.split("---\n")[1])["license"] == "unknown"


def test_what_is_there_is_left_alone(hostile, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(PotstillError, match="out exists: name another folder"):
        written("folder", hostile, tmp_path / "out")
    assert list(tmp_path.rglob("*")) == [tmp_path / "out"]


def test_an_unfinished_set_is_refused(tmp_path):
    fill(tmp_path / "set", upto=5)
    with pytest.raises(PotstillError, match=f"{len(SLOTS) - 5} of its {len(SLOTS)} images are missing"):
        written("folder", tmp_path / "set", tmp_path / "out")


def test_an_altered_set_is_refused(tmp_path):
    fill(tmp_path / "set").finish()
    (tmp_path / "set" / SLOTS[3].file_name).write_bytes((tmp_path / "set" / SLOTS[4].file_name).read_bytes())
    with pytest.raises(PotstillError, match="1 faults.*was altered"):
        written("folder", tmp_path / "set", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", list(FORMATS))
def test_an_export_that_fails_leaves_nothing(hostile, tmp_path, kind):
    def fail(step):
        raise OSError(28, "No space left on device")

    with pytest.raises(PotstillError, match="cannot write .*out: No space left on device"):
        export(hostile, tmp_path / "out", FORMATS[kind](), on_step=fail)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from potstill.exporting import FORMATS
from potstill.exporting.export import export

kind, source, out = sys.argv[1:]
form = FORMATS[kind]() if kind == "folder" else FORMATS[kind](shard_size=5)
export(
    Path(source), Path(out), form, on_step=lambda step: step.index == 3 and os.kill(os.getpid(), signal.SIGKILL)
)
"""


def test_a_killed_export_leaves_no_folder_of_its_name(hostile, tmp_path):
    running = {
        kind: subprocess.Popen([sys.executable, "-c", KILLED, kind, hostile, tmp_path / kind])
        for kind in FORMATS
    }
    for kind, process in running.items():
        assert process.wait(60) == -signal.SIGKILL
        assert not (tmp_path / kind).exists()
        written(kind, hostile, tmp_path / kind)
        assert (tmp_path / kind / "README.md").is_file()


def command(*words):
    """The command in this process; what it refuses is raised, as `main` prints it."""
    return CliRunner().invoke(app, ["export", *map(str, words)], catch_exceptions=False)


def test_the_command(hostile, tmp_path):
    done = command(hostile, tmp_path / "out", "--to", "webdataset", "--shard-size", 20, "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["images"] == len(SLOTS) and len(list((tmp_path / "out").glob("*.tar"))) == 3
    size = sum(file.stat().st_size for file in (tmp_path / "out").rglob("*") if file.is_file())
    assert told["bytes"] == size
    assert len(told["warnings"]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["SET", "OUT", "--to", "webdatset"], "Did you mean 'webdataset'"),
        (["SET", "OUT", "--to", "folder", "--shard-size", "5"], "writes no shards"),
        (["OUT/none", "OUT", "--to", "folder"], "no such folder"),
        (["SET", "SET", "--to", "folder"], "exists: name another folder"),
        (["SET", "SET/inner", "--to", "folder"], "lies inside the set"),
    ],
)
def test_wrong_use_is_told(hostile, tmp_path, words, message):
    places = {"SET": str(hostile), "OUT": str(tmp_path / "out"), "OUT/none": str(tmp_path / "none")}
    places["SET/inner"] = str(hostile / "inner")
    with pytest.raises(PotstillError, match=message):
        command(*(places.get(word, word) for word in words))
    assert list(tmp_path.iterdir()) == []


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as an upload of small files meets; it keeps what it is sent."""

    received: dict = {}
    asked: list = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        address = f"http://{self.headers['Host']}/datasets/me/woof"
        path = self.path.split("?")[0]
        self.asked.append((path, body))
        if path.endswith("/preupload/main"):
            files = [one["path"] for one in json.loads(body)["files"]]
            modes = [{"path": file, "uploadMode": "regular", "shouldIgnore": False} for file in files]
            self._answer({"files": modes})
        elif path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.received[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self._answer({"commitUrl": f"{address}/commit/{'0' * 40}", "commitOid": "0" * 40})
        else:
            self._answer({"url": address, "errors": [], "warnings": []})

    def _answer(self, value):
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words):
        pass


def test_a_push_sends_every_file(hostile, tmp_path, load):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        words = ["export", hostile, tmp_path / "out", "--to", "huggingface", "--push", "me/woof"]
        hub = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-m", "potstill", *map(str, words)],
            env=os.environ | hub | {"HF_TOKEN": "hf_nobody"},
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("before publishing:") == 2 and "/datasets/me/woof/commit/" in done.stderr
    path, body = Hub.asked[0]
    assert path == "/api/repos/create" and json.loads(body)["visibility"] == "private"
    sent = {str(file.relative_to(tmp_path / "out")): file for file in (tmp_path / "out").rglob("*.*")}
    assert Hub.received == {name: file.read_bytes() for name, file in sent.items()}
    image = Image.open(BytesIO(load(str(tmp_path / "out"))["train"].data["image"][0].as_py()["bytes"]))
    assert same([image], SLOTS[:1])


def test_a_failed_push_keeps_the_folder_and_says_how_to_go_on(hostile, tmp_path):
    with pytest.raises(PotstillError, match="hf upload --repo-type dataset me/woof"):
        command(hostile, tmp_path / "out", "--to", "folder", "--push", "me/woof")
    assert (tmp_path / "out/README.md").is_file()
