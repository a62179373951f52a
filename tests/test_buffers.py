"""Experts on disk: what a snapshot is, going on after SIGKILL to the same bits, and what is refused."""

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save
from torch.nn import functional

from potstill.buffers import make_buffer
from potstill.core.errors import PotstillError
from potstill.core.files import read_json, sha256, write_json
from potstill.core.lock import alone
from potstill.core.seeds import generator
from potstill.data.real import Classes, RealData, empty_split, tensor_split
from potstill.nets.fit import batches
from potstill.nets.siamese import OPERATIONS, Siamese
from potstill.nets.spec import Net, build
from potstill.objectives.experts import BUFFER, Buffer, Experts, file_name

SHORT = Experts(net="convnet-3-instance-w4", count=3, epochs=3, batch=16, rate=0.05, size=8)


def some():
    """Forty images of noise in two classes."""
    images = torch.randint(256, (40, 3, 8, 8), generator=generator("some"), dtype=torch.uint8)
    split = tensor_split(images, torch.arange(40) % 2, "train")
    return RealData(
        "noise", Classes(("3", "8"), ("three", "eight")), split, empty_split(), size=8, mirror=False
    )


@pytest.fixture(scope="module")
def real():
    return some()


@pytest.fixture(scope="module")
def made(real, tmp_path_factory):
    """A buffer and the steps of its making."""
    steps = []
    buffer = make_buffer(real, tmp_path_factory.mktemp("buffer"), SHORT, on_step=steps.append)
    return buffer, steps


def files(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.glob("expert-*"))}


@pytest.mark.parametrize("mirror", [False, True])
def test_snapshots_are_those_of_plain_sgd(real, tmp_path, mirror):
    one = dataclasses.replace(SHORT, count=1)
    buffer = make_buffer(dataclasses.replace(real, mirror=mirror), tmp_path, one, seed=5)
    module = build(Net.parse(SHORT.net), 2, 8, generator(5, "expert", 0, "start"))
    optimiser = torch.optim.SGD(module.parameters(), lr=0.05)
    augment = Siamese(operations=OPERATIONS if mirror else ("color", "crop", "cutout", "scale", "rotate"))
    draw, pixels, labels = generator(5, "expert", 0, "fit"), real.train.pixels(None, 8), real.train.labels
    for epoch in range(4):
        held = buffer.expert(0, epoch, epoch)[1]
        assert set(held) == set(dict(module.named_parameters()))
        for name, value in module.named_parameters():
            torch.testing.assert_close(held[name], value.detach(), rtol=1e-4, atol=1e-5)
        for rows in batches(len(pixels), 16, draw):
            images, targets = augment(pixels[rows].float() / 255, labels[rows], draw)
            optimiser.zero_grad()
            functional.cross_entropy(module(images), targets).backward()
            optimiser.step()


def test_a_file_holds_every_epoch_and_no_two_are_alike(made):
    buffer, steps = made
    assert [file.name for file in sorted(buffer.folder.iterdir())] == [BUFFER, *map(file_name, range(3))]
    for index in range(3):
        rows = load_file(buffer.folder / file_name(index))
        assert all(value.shape[0] == 4 and value.dtype == torch.float32 for value in rows.values())
        weights = rows["head.weight"]
        assert all(not torch.equal(weights[one], weights[other]) for one in range(4) for other in range(one))
        early, late = buffer.expert(index, 1, 3)
        assert early.keys() == rows.keys()
        assert all(torch.equal(early[name], rows[name][1]) for name in rows)
        assert all(torch.equal(late[name], rows[name][3]) for name in rows)
    starts = [buffer.expert(index, 0, 1)[0]["head.weight"] for index in range(3)]
    assert not torch.equal(starts[0], starts[1]) and not torch.equal(starts[1], starts[2])
    told = [(step.stage, step.index, step.total) for step in steps]
    each = [("expert", epoch, 3) for epoch in (1, 2, 3)]
    assert told == [step for index in (1, 2, 3) for step in [*each, ("experts", index, 3)]]


def test_what_the_buffer_says_of_itself(made):
    buffer, _ = made
    plain = read_json(buffer.folder / BUFFER)
    assert plain["data"] == "noise" and plain["classes"] == ["3", "8"] and plain["size"] == 8
    assert plain["experts"]["net"] == "convnet-3-instance-w4" and plain["experts"]["epochs"] == 3
    assert {"potstill", "python", "torch"} <= set(plain["versions"])
    assert plain["files"] == {name: sha256(buffer.folder / name) for name in map(file_name, range(3))}
    assert Buffer.load(buffer.folder) == buffer
    digest = dict(buffer.contents.files) | {file_name(1): "other"}
    other = dataclasses.replace(buffer, contents=dataclasses.replace(buffer.contents, files=digest))
    assert len(buffer.fingerprint) == 64 and other.fingerprint != buffer.fingerprint


KILLED = """
import sys, time
from pathlib import Path
from test_buffers import SHORT, some
from potstill.buffers import make_buffer

def hang(step):
    if step.stage == "expert" and step.index == 2 and (out / "expert-00000.safetensors").exists():
        (out / "training").touch()
        time.sleep(60)

out = Path(sys.argv[1])
make_buffer(some(), out, SHORT, on_step=hang)
"""


def test_a_killed_run_goes_on_to_the_same_bits(made, real, tmp_path):
    place = {**os.environ, "PYTHONPATH": os.path.dirname(__file__)}
    running = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], env=place)
    while not (tmp_path / "training").exists() and running.poll() is None:
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert list(files(tmp_path)) == [file_name(0)]
    with pytest.raises(PotstillError, match="buffer.json: 1 of 3 experts are done"):
        Buffer.load(tmp_path)
    steps = []
    resumed = make_buffer(real, tmp_path, SHORT, on_step=steps.append)
    assert [step.index for step in steps if step.stage == "experts"] == [2, 3]
    assert files(tmp_path) == files(made[0].folder)
    assert resumed.contents == made[0].contents


def test_only_missing_experts_are_trained(made, real, tmp_path):
    buffer, _ = made
    for file in buffer.folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    make_buffer(real, tmp_path, SHORT, on_step=lambda step: pytest.fail("trained again"))
    (tmp_path / file_name(1)).unlink()
    with pytest.raises(PotstillError, match="expert-00001.safetensors is missing or was altered"):
        Buffer.load(tmp_path).expert(1, 0, 1)
    plain = read_json(tmp_path / BUFFER)
    del plain["files"][file_name(2)]
    write_json(tmp_path / BUFFER, plain)
    (tmp_path / file_name(2)).write_bytes(b"of a run killed before it was noted")
    (tmp_path / file_name(0)).write_bytes(b"altered")
    steps = []
    make_buffer(real, tmp_path, SHORT, on_step=steps.append)
    assert [step.index for step in steps if step.stage == "experts"] == [1, 2, 3]
    assert files(tmp_path) == files(buffer.folder)


def test_a_folder_of_other_experts_is_refused(made, real):
    buffer, _ = made
    kept = files(buffer.folder)
    for experts, data, seed, told in (
        (dataclasses.replace(SHORT, epochs=4), real, 0, "experts"),
        (SHORT, real, 1, "seed"),
        (SHORT, real.select(["8", "3"]), 0, "classes, images"),
        (SHORT, dataclasses.replace(real, mirror=True), 0, "mirror"),
    ):
        with pytest.raises(PotstillError, match=rf"is that of other experts \({told}\): name another folder"):
            make_buffer(data, buffer.folder, experts, seed=seed)
    assert files(buffer.folder) == kept


def test_other_images_of_the_same_names_are_refused(made, real, tmp_path):
    buffer, _ = made
    other = dataclasses.replace(
        real, train=dataclasses.replace(real.train, read=lambda row: Image.new("RGB", (8, 8)))
    )
    with pytest.raises(PotstillError, match=r"that of other experts \(images\)"):
        make_buffer(other, buffer.folder, SHORT)
    shutil.copytree(buffer.folder, tmp_path / "older")
    names = json.dumps([list(real.train.ids), real.train.labels.tolist()])
    plain = read_json(buffer.folder / BUFFER) | {"images": hashlib.sha256(names.encode()).hexdigest()}
    write_json(tmp_path / "older" / BUFFER, plain)
    opened = make_buffer(real, tmp_path / "older", SHORT, on_step=lambda step: pytest.fail("trained again"))
    assert opened.fingerprint == buffer.fingerprint, "as made before pixels were told"


def test_a_folder_that_is_being_filled_is_left_alone(real, tmp_path):
    with alone(tmp_path), pytest.raises(PotstillError, match="is being filled by process"):
        make_buffer(real, tmp_path, SHORT)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_read_is_named(made, tmp_path):
    buffer, _ = made
    with pytest.raises(PotstillError, match=f"no such file: {tmp_path / BUFFER}"):
        Buffer.load(tmp_path)
    plain = read_json(buffer.folder / BUFFER)
    write_json(tmp_path / BUFFER, plain | {"format": 9})
    with pytest.raises(PotstillError, match=f"{tmp_path / BUFFER}: unknown format 9"):
        Buffer.load(tmp_path)
    write_json(tmp_path / BUFFER, plain)
    for wrong, file in (
        (b"no tensors", file_name(0)),
        (save({"head.weight": torch.zeros(4, 3)}), file_name(1)),
    ):
        (tmp_path / file).write_bytes(wrong)
    for index in (0, 1):
        with pytest.raises(PotstillError, match=f"{file_name(index)} is missing or was altered: the same"):
            Buffer.load(tmp_path).expert(index, 0, 1)
    with pytest.raises(PotstillError, match="expert-00000.safetensors does not hold epochs 0 and 9"):
        buffer.expert(0, 0, 9)


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"net": "convnet-9"}, "unknown convnet depth '9'"),
        ({"count": 0}, "at least 1, not 0, 50, 256"),
        ({"epochs": 0}, "at least 1, not 100, 0, 256"),
        ({"batch": 0}, "at least 1, not 100, 50, 0"),
        ({"rate": 0.0}, "rate of experts must be positive, not 0.0"),
    ],
)
def test_settings_out_of_range_are_named(setting, message):
    with pytest.raises(PotstillError, match=message):
        Experts(**setting)
