"""Ray makes the same bits as this process; a worker killed costs its shard, a driver killed resumes."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from torch import nn
from typer.testing import CliRunner

from potstill.cli import app
from potstill.cli.executors import executor
from potstill.cli.terminal import progress
from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.core.settings import to_plain
from potstill.data.digits import digits
from potstill.distilled import Slot
from potstill.labels.header import Header
from potstill.labels.making import make
from potstill.labels.views import FORMAT, described, pixels_sha256
from potstill.methods import Made
from potstill.methods.guided import Guided
from potstill.methods.matching import Matching
from potstill.methods.random import Random
from potstill.nets.augment import Crop, CutMix, Flip
from potstill.nets.spec import Net, build
from potstill.nets.store import frozen
from potstill.plans import plan
from potstill.recipes import RECIPES
from potstill.run import distill, on_ray
from potstill.run.local import Alone, InProcess
from potstill.run.on_ray import OnRay
from potstill.run.shards import Bench
from potstill.sweeps import Sweep, _turns, sweep

REAL = digits().select(["0", "1", "2"])
ONE, TWO = OnRay(workers=1), OnRay(workers=2)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """A worker takes as many cores as torch has threads; two workers then fit on two cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def two_workers():
    ray.init(
        "local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20
    )
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the tests are no package
    yield
    ray.shutdown()


@dataclass(frozen=True, kw_only=True)
class Diary:
    """A method, by itself noise, that writes down who begins and ends which image, and can be slow, fail and die."""

    kind: str = "diary"
    folder: str
    base: Guided | None = None
    seconds: float = 0.0
    fails_at: int | None = None
    dies_at: int | None = None

    def prepare(self, real, *, seed, images_per_class, device):
        asked = {"seed": seed, "images_per_class": images_per_class, "device": device}
        return Diarist(self, seed, self.base and self.base.prepare(real, **asked))


@dataclass(frozen=True)
class Diarist:
    settings: Diary
    seed: int
    base: Any = None

    @property
    def size(self):
        return self.base.size if self.base else 8

    @property
    def weights(self):
        return self.base.weights if self.base else {}

    def note(self, word, slot):
        line = f"{word} {slot.key}/{slot.index} {os.getpid()}\n"
        file = os.open(Path(self.settings.folder) / "diary", os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        os.write(file, line.encode())
        os.close(file)

    def make(self, slots, on_step):
        made = []
        for slot in slots:
            self.note("begins", slot)
            time.sleep(self.settings.seconds)
            if slot.index == self.settings.fails_at:
                raise PotstillError(f"no image for {slot.key}/{slot.index}")
            if slot.index == self.settings.dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            made += self.base.make([slot], on_step) if self.base else [self.noise(slot)]
            self.note("ends", slot)
        return made

    def noise(self, slot):
        draw = generator(self.seed, "image", slot.key, slot.index)
        return Made(torch.randint(256, (3, 8, 8), generator=draw, dtype=torch.uint8))


def diary(folder):
    """What the diary says: word, image, process."""
    return [line.split() for line in (Path(folder) / "diary").read_text().splitlines()]


def hashes(folder):
    files = sorted(Path(folder).rglob("*.png"))
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def killing(folder, after):
    """A listener that kills the process of the image last begun, once, when `after` images are kept."""
    killed = []

    def on_step(step):
        if step.stage == "distill" and step.index >= after and not killed:
            while not (begun := open_images(folder)):
                time.sleep(0.01)
            killed.append(begun[-1])
            os.kill(int(begun[-1][1]), signal.SIGKILL)

    return on_step, killed


def open_images(folder):
    """Images begun and not ended: which, and by whom."""
    told = diary(folder)
    ended = {(image, process) for word, image, process in told if word == "ends"}
    return [(image, pid) for word, image, pid in told if word == "begins" and (image, pid) not in ended]


def test_a_worker_killed_costs_its_shard_and_no_bit(tiny_dit, tmp_path, monkeypatch):
    monkeypatch.chdir(Path(tiny_dit).parent)  # a relative path must mean the same to the workers
    base = Guided(prior=Path(tiny_dit).name, scale=1.5, steps=4)
    asked = {"name": "t", "images_per_class": 8, "seed": 3, "batch": 2}
    here = distill(Diary(folder=str(tmp_path), base=base), REAL, tmp_path / "here", **asked)
    listen, killed = killing(tmp_path / "b", after=6)
    slow = Diary(folder=str(tmp_path / "b"), base=base, seconds=0.3)
    there = distill(slow, REAL, made(tmp_path / "b"), on=TWO, on_step=listen, **asked)
    assert hashes(here.folder) == hashes(there.folder) and len(hashes(there.folder)) == 24
    assert (here.folder / "metadata.jsonl").read_text() == (there.folder / "metadata.jsonl").read_text()
    assert there.verify() == []
    taken = ("method", "seconds", "seconds_per_image", "peak_memory_gib")
    one, other = (
        {name: value for name, value in to_plain(made.manifest).items() if name not in taken}
        for made in (here, there)
    )
    assert one == other and there.manifest.seconds > 0 and there.manifest.peak_memory_gib > 0
    ((image, process),) = killed
    told = diary(tmp_path / "b")
    begun = [image for word, image, _ in told if word == "begins"]
    key, index = image.split("/")
    shard = {f"{key}/{int(index) // 2 * 2 + place}" for place in (0, 1)}
    assert set(begun) == {f"{key}/{index}" for key in "012" for index in range(8)}
    assert image in {one for one in begun if begun.count(one) > 1} <= shard, "only the killed shard anew"
    assert [line for line in told if line[2] == process][-1][:2] == ["begins", image], "it was dead"
    assert len({pid for *_, pid in told}) >= 2, "two workers"


def made(folder):
    """The folder that a diary lies in, and the set's folder within."""
    folder.mkdir()
    return folder / "set"


DRIVER = """
import sys, ray
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_on_ray as it
ray.cloudpickle.register_pickle_by_value(it)
it.distill(it.Diary(folder=sys.argv[2]), it.REAL, Path(sys.argv[2]) / "set", name="t", images_per_class=8, batch=2,
    on=it.OnRay(workers=2, address=sys.argv[3]), on_step=lambda step: it.time.sleep(0.3))
"""


def test_a_driver_killed_resumes_anywhere(tmp_path):
    folder, address = made(tmp_path / "killed"), ray.get_runtime_context().gcs_address
    words = [str(Path(__file__).parent), str(folder.parent), address]
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, *words])
    lines = folder / "metadata.partial.jsonl"
    begun = time.monotonic()
    while not (lines.exists() and len(lines.read_text().splitlines()) >= 6):
        assert driver.poll() is None and time.monotonic() - begun < 60
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    names = [json.loads(line)["file_name"] for line in lines.read_text().splitlines()]
    assert 6 <= len(names) < 24
    shutil.copytree(folder, tmp_path / "copy")
    method = Diary(folder=str(folder.parent))
    for begun, on in ((folder, ONE), (tmp_path / "copy", None)):
        kept = {name: (begun / name).stat().st_mtime_ns for name in names}
        distill(method, REAL, begun, name="t", images_per_class=8, batch=2, on=on)
        assert {name: (begun / name).stat().st_mtime_ns for name in names} == kept, "made again"
    straight = distill(method, REAL, tmp_path / "straight", name="t", images_per_class=8)
    assert hashes(folder) == hashes(tmp_path / "copy") == hashes(straight.folder)
    assert len(hashes(folder)) == 24


def test_a_shard_that_kills_every_worker_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(on_ray, "LIVES", 2)
    with pytest.raises(PotstillError, match="2 workers died .* 2 images from train/1/00002.png to train"):
        distill(
            Diary(folder=str(tmp_path), dies_at=3),
            REAL.select(["1"]),
            tmp_path / "set",
            name="t",
            images_per_class=4,
            batch=2,
            on=ONE,
        )
    begun = [image for word, image, _ in diary(tmp_path) if (word, image) == ("begins", "1/3")]
    assert len(begun) == 2


def test_errors_of_workers_are_raised_as_they_are(tmp_path):
    asked = {"name": "t", "images_per_class": 4, "batch": 2, "on": ONE}
    with pytest.raises(PotstillError, match="^no image for ./3$"):
        distill(Diary(folder=str(tmp_path), fails_at=3), REAL, tmp_path / "set", **asked)
    with pytest.raises(PotstillError, match="fewer than 9999$"):
        distill(Random(), REAL, tmp_path / "other", **{**asked, "images_per_class": 9999})
    assert not (tmp_path / "other").exists()


def test_what_cannot_be_spread_is_refused(tmp_path, monkeypatch):
    method = RECIPES["digits-dm"]().method
    assert isinstance(method, Matching)
    asked = {"name": "t", "images_per_class": 1}
    with pytest.raises(PotstillError, match="matching makes all images together .* --on local"):
        distill(replace(method, iterations=1), REAL, tmp_path / "set", on=ONE, **asked)
    with pytest.raises(PotstillError, match="a GPU of its own: --device cuda, not cuda:1"):
        distill(Random(), REAL, tmp_path / "set", on=ONE, device="cuda:1", **asked)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PotstillError, match=r"pip install 'potstill\[ray\]'"):
        distill(Random(), REAL, tmp_path / "set", on=TWO, **asked)
    assert not (tmp_path / "set").exists()


def test_a_sweep_is_the_same_on_ray(tmp_path):
    recipe = replace(
        RECIPES["digits-random"](), witness=None, protocol="hard@1", student="convnet-3-w4", classes="0,1"
    )
    over = {"images_per_class": [1, 2], "student": ["convnet-3-w4", "convnet-3-w8"]}
    here, there = (
        sweep(recipe, over, tmp_path / name, epochs=1, on=on) for name, on in (("a", None), ("b", TWO))
    )
    assert here == there and len(there.points) == 4
    assert {str(point) for point in Sweep.load(tmp_path / "b").points} == {
        str(point) for point in Sweep.load(tmp_path / "a").points
    }
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b") and len(hashes(tmp_path / "b")) == 2 + 4
    one, other = (
        [[run.accuracy for run in evaluation.runs] for evaluation in made.evaluations(tmp_path / name)]
        for made, name in ((here, "a"), (there, "b"))
    )
    assert one == other and len(one) == 4


class Telltale(nn.Module):
    """A teacher that writes down about how many views who asks it, and can take one process with it."""

    def __init__(self, folder, dies_at=None):
        super().__init__()
        self.net = frozen(build(Net(width=4), 5, 8, generator("teacher")))
        self.folder, self.dies_at = folder, dies_at

    def forward(self, images):
        with (self.folder / "diary").open("a") as file:
            file.write(f"{len(images)} {os.getpid()}\n")
        if self.dies_at and len(diary(self.folder)) >= self.dies_at and not (self.folder / "died").exists():
            (self.folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.net(images)


def labelled(folder, *, dies_at=None, **where):
    """Labels of seven epochs of 2,100 images, in blocks of two epochs and a last one, and the views asked about."""
    folder.mkdir()
    images = torch.randint(256, (2100, 3, 8, 8), generator=generator("many"), dtype=torch.uint8)
    changes = Crop(least_area=0.3), Flip(), CutMix()
    views = {"count": 2100, "seed": 3, "epochs": 7, "batch": 500, "changes": described(changes)}
    known = {"images": pixels_sha256(images), "teacher": "", "teacher_sha256": ""}
    header = Header(format=FORMAT, classes=tuple("abcde"), **views, **known)
    made = make(images, torch.arange(2100) % 5, Telltale(folder, dies_at), header, changes, **where)
    assert len(made.blocks) == 4
    return made.fingerprint, sum(int(views) for views, _ in diary(folder))


class Backwards(Alone):
    """An executor, and a crew of one that does the last task first."""

    apart = False

    @contextmanager
    def crew(self, ready, *, device):
        yield Backwards(ready())

    def each(self, do, tasks, on_step):
        return super().each(do, reversed(list(tasks)), on_step)


def test_labels_are_the_same_on_ray_and_in_any_order(tmp_path):
    here = labelled(tmp_path / "here")
    steps = []
    there = labelled(tmp_path / "there", on=TWO, on_step=steps.append)
    assert here == there == labelled(tmp_path / "backwards", on=Backwards(None)) and here[1] == 7 * 2100
    assert [step.total for step in steps] == [7] * 4 and steps[0].index == 2 and steps[-1].index == 7
    assert os.getpid() not in {int(pid) for _, pid in diary(tmp_path / "there")}


def test_a_worker_killed_costs_its_block_of_labels(tmp_path):
    here, _ = labelled(tmp_path / "here")
    there, views = labelled(tmp_path / "there", on=TWO, dies_at=13)
    assert here == there and (tmp_path / "there" / "died").exists()
    assert 7 * 2100 < views <= (7 + 2) * 2100


@pytest.mark.parametrize("on", [TWO, None])
def test_labels_broken_off_on_ray_go_on_anywhere(tmp_path, on):
    here, _ = labelled(tmp_path / "here")

    def stop(step):
        if any((tmp_path / "keep").glob("*.npy")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        labelled(tmp_path / "begun", on=TWO, keep=tmp_path / "keep", on_step=stop)
    (kept,) = (tmp_path / "keep").glob("*.npy")
    epochs = 1 if kept.stem == "00003" else 2
    assert labelled(tmp_path / "on", on=on, keep=tmp_path / "keep") == (here, (5 - epochs) * 2100)


def test_the_command_label_asks_its_executor(tmp_path):
    distill(Random(), REAL, tmp_path / "set", name="t", images_per_class=1)
    words = ["label", str(tmp_path / "set"), "--classes", "0,1,2", "--epochs", "1", "--on", "ray"]
    told = CliRunner().invoke(app, [*words, "--device", "cuda:1"])
    assert "a GPU of its own: --device cuda, not cuda:1" in str(told.exception)
    assert CliRunner().invoke(app, [*words, "--workers", "1"]).exit_code == 0


def test_points_of_one_folder_are_never_made_together():
    over = {
        "images_per_class": ["1", "2"],
        "protocol": ["rded@1", "dc@1"],
        "student": ["convnet-3", "resnet-18"],
    }
    planned = plan(RECIPES["digits-random"](), over, seeds=2)
    turns = _turns(planned)
    assert sorted(map(repr, sum(turns, []))) == sorted(map(repr, planned)) and len(planned) == 16
    assert all(len({one.folder for one in turn}) == len(turn) for turn in turns)


def test_shards_do_not_depend_on_who_asks():
    slots = [Slot(key, index) for key in "01" for index in range(5)]
    shards = Bench(Diarist(Diary(folder=""), 0), None, "cpu").plan(slots, 4)
    assert [len(shard.slots) for shard in shards] == [4, 4, 2]
    assert [slot for shard in shards for slot in shard.slots] == slots


def test_what_ray_prints_stays_out_of_results(capsys):
    with progress():
        print("(raylet) A worker died")
    print("result")
    assert capsys.readouterr() == ("result\n", "(raylet) A worker died\n")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("local", 2, None, "cpu"), "--workers and --address are for --on ray"),
        (("local", None, "auto", "cpu"), "--workers and --address are for --on ray"),
        (("local", None, None, "gpu"), "there is no device 'gpu' here"),
        (("rya", 2, None, "cpu"), "unknown executor 'rya'. Did you mean 'ray'"),
    ],
)
def test_wrong_options_are_named(asked, message):
    with pytest.raises(PotstillError, match=message):
        executor(*asked)


def test_options_become_the_executor():
    assert executor("ray", 3, "host:1", "cuda") == OnRay(workers=3, address="host:1")
    assert executor("local", None, None, "cpu") == InProcess()
