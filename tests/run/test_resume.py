"""A run killed at any moment goes on to the same bits and loses at most the batch in hand."""

import dataclasses
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from potstill.core.errors import PotstillError
from potstill.core.lock import LOCK, alone
from potstill.data.digits import digits
from potstill.distilled import DistilledSet
from potstill.methods.guided import Guided
from potstill.methods.random import Random
from potstill.run import distill

SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from potstill.data.digits import digits
from potstill.methods.guided import Guided
from potstill.run import distill
method = Guided(prior=sys.argv[1], scale=1.5, steps=12)
real = digits().select(["0", "1", "2", "3"])
distill(method, real, Path(sys.argv[2]), name="killed", images_per_class=16, seed=1, batch=int(sys.argv[3]))
"""


def start(prior, folder, batch):
    return subprocess.Popen([sys.executable, "-c", SCRIPT, prior, str(folder), str(batch)])


def kept(folder):
    lines = folder / "metadata.partial.jsonl"
    return len(lines.read_text().splitlines()) if lines.exists() else 0


def images(folder):
    return {file.relative_to(folder): file.read_bytes() for file in sorted(folder.rglob("*.png"))}


def test_ten_kills_at_random_moments_change_nothing(tiny_dit, tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert start(tiny_dit, straight, 4).wait(120) == 0
    chance, deaths, before = random.Random(0), 0, 0
    while deaths < 10:
        run = start(tiny_dit, killed, 4)
        begun = time.monotonic()
        while not (killed / "potstill.json").exists() and time.monotonic() - begun < 60:
            time.sleep(0.01)
        while kept(killed) <= before and run.poll() is None and chance.random() < 0.98:
            time.sleep(0.02)
        time.sleep(chance.random() * 0.05)
        if run.poll() is not None:
            break
        run.send_signal(signal.SIGKILL)
        run.wait()
        deaths += 1
        assert kept(killed) >= before, "a finished image was lost"
        before = kept(killed)
    assert deaths == 10
    assert start(tiny_dit, killed, 4).wait(120) == 0
    assert images(killed) == images(straight)
    assert (killed / "metadata.jsonl").read_text() == (straight / "metadata.jsonl").read_text()
    assert DistilledSet.load(killed).verify() == []
    assert not list(killed.rglob("*.partial*"))


@pytest.mark.parametrize("batch", [1, 5, 64])
def test_the_batch_decides_nothing(tiny_dit, tmp_path, batch):
    real, method = digits().select(["0", "7"]), Guided(prior=tiny_dit, scale=2.0, steps=3)
    sets = (
        [
            distill(method, real, tmp_path / str(size), name="t", images_per_class=3, batch=size)
            for size in (2, batch)
        ]
        if batch != 2
        else []
    )
    assert images(sets[0].folder) == images(sets[1].folder)


def test_a_finished_set_is_not_made_again(tiny_dit, tmp_path):
    real, method = digits().select(["0", "7"]), Guided(prior=tiny_dit, scale=1.0, steps=3)
    made = distill(method, real, tmp_path / "set", name="t", images_per_class=2)
    stamps = {file: file.stat().st_mtime_ns for file in made.folder.rglob("*") if file.is_file()}
    distill(method, real, tmp_path / "set", name="t", images_per_class=2)
    assert stamps == {file: file.stat().st_mtime_ns for file in made.folder.rglob("*") if file.is_file()}


def test_a_set_that_is_being_filled_is_left_alone(tmp_path):
    real = digits().select(["0", "7"])
    asked = {"name": "t", "images_per_class": 1}
    made = distill(Random(), real, tmp_path / "set", **asked)
    with alone(made.folder), pytest.raises(PotstillError, match="set is being filled by process"):
        distill(Random(), real, made.folder, **asked)
    distill(Random(), real, made.folder, **asked)
    assert not (made.folder / LOCK).exists()


def test_provenance_holds_what_decides_the_images(tiny_dit, tmp_path):
    real, method = digits().select(["0", "7"]), Guided(prior=tiny_dit, scale=1.0, steps=3)
    made = distill(method, real, tmp_path / "set", name="t", images_per_class=2, seed=9)
    told = json.loads((made.folder / "potstill.json").read_text())
    assert told["method"] == {
        "kind": "guided",
        "prior": tiny_dit,
        "scale": 1.0,
        "terms": [],
        "steps": 3,
        "solver": "ddim",
        "original": False,
        "dtype": "float32",
        "execution": {"compile": False, "offload": False, "tile": None},
    }
    assert told["seed"] == 9 and told["classes"]["keys"] == ["0", "7"]
    assert len(told["weights"][0]["sha256"]) == 64 and told["versions"]["torch"]
    assert told["seconds"] > 0 and told["peak_memory_gib"] > 0


def test_a_set_of_an_older_version_is_the_same_where_new_settings_are_off(tiny_dit, tmp_path):
    real, method = digits().select(["0", "7"]), Guided(prior=tiny_dit, scale=1.0, steps=3)
    made = distill(method, real, tmp_path / "set", name="t", images_per_class=1)
    file = made.folder / "potstill.json"
    told = json.loads(file.read_text())
    del told["method"]["original"]
    file.write_text(json.dumps(told))
    distill(method, real, tmp_path / "set", name="t", images_per_class=1)
    with pytest.raises(PotstillError, match="original null -> true"):
        distill(dataclasses.replace(method, original=True), real, made.folder, name="t", images_per_class=1)
    with pytest.raises(PotstillError, match="steps 3 -> 4"):
        distill(dataclasses.replace(method, steps=4), real, made.folder, name="t", images_per_class=1)


@pytest.mark.parametrize(
    "changed", [{"beta_end": 0.05}, {"prediction_type": "v_prediction"}, {"steps_offset": 1}], ids=str
)
def test_another_noise_schedule_of_the_prior_is_another_prior(few, tiny_dit, tmp_path, changed):
    """The same networks; a set that was begun with one schedule is not filled up by another."""
    own = Path(shutil.copytree(tiny_dit, tmp_path / "prior"))
    made = distill(Guided(prior=str(own), steps=2), few, tmp_path / "set", name="a", images_per_class=1)
    file = own / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    (made.folder / made.records[0].slot.file_name).unlink()
    with pytest.raises(PotstillError, match="made with other settings .weights"):
        distill(Guided(prior=str(own), steps=2), few, tmp_path / "set", name="a", images_per_class=1)
