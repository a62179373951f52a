"""Sets that were made elsewhere and teachers whose classes are in another order, through the whole of `evaluate`."""

import copy
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from potstill.cli import app
from potstill.core.errors import PotstillError
from potstill.core.lock import alone
from potstill.core.seeds import generator
from potstill.data import load
from potstill.data.real import Classes, RealData
from potstill.distilled import DistilledSet
from potstill.distilled.resize import resized
from potstill.evaluation import PROTOCOLS
from potstill.evaluation.record import Evaluation, load_evaluations
from potstill.exporting.export import export
from potstill.exporting.folder import Folder
from potstill.labelling import label_set
from potstill.labels.views import ViewLabels
from potstill.methods.random import Random
from potstill.nets.spec import Net, build
from potstill.nets.store import load_net, save_net
from potstill.pipeline import evaluate_set
from potstill.report.compare import compare
from potstill.run import distill

SHUFFLED = (3, 1, 4, 0, 5, 9, 2, 6, 8, 7)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two random digits a class, as a set of ours."""
    folder = tmp_path_factory.mktemp("ours")
    distill(Random(), load("digits"), folder, name="two", images_per_class=2)
    return folder


@pytest.fixture(scope="module")
def confused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped teacher, with its classes listed in another order than its outputs are in."""
    folder = tmp_path_factory.mktemp("confused")
    stored = load_net("digits/teacher")
    keys = tuple(stored.classes.keys[place] for place in SHUFFLED)
    names = tuple(stored.classes.names[place] for place in SHUFFLED)
    save_net(folder, stored.module, stored.spec, Classes(keys, names), stored.size, {})
    return folder


@pytest.fixture(scope="module")
def few() -> RealData:
    """The digits with ten test images a class."""
    real = load("digits")
    rows = torch.cat([real.test.of_class(label)[:10] for label in range(10)])
    return replace(real, test=real.test.take(rows))


def accuracy(source: Path, results: Path, **options: object) -> float:
    done = evaluate_set(
        source,
        load("digits"),
        protocol=PROTOCOLS["rded@1"],
        student=Net.parse("convnet-3-w8"),
        seeds=[0],
        epochs=8,
        results=results,
        **({"teacher": "digits/teacher"} | options),  # pyright: ignore[reportArgumentType]
    )
    assert done.teacher_accuracy is not None and done.teacher_accuracy > 0.98
    return done.mean


def test_the_same_images_in_a_foreign_folder_give_the_same_number(ours: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    for key in range(10):
        shutil.copytree(ours / "train" / str(key), theirs / "val" / f"{key:05}")
    before = sorted(file.relative_to(theirs) for file in theirs.rglob("*"))
    with pytest.raises(PotstillError):
        accuracy(theirs, tmp_path)
    shutil.move(theirs / "val", theirs / "train")
    assert accuracy(theirs, tmp_path / "results") == accuracy(ours, tmp_path / "results")
    assert len(before) == len(list(theirs.rglob("*"))), "nothing is written into other people's folders"
    assert list((tmp_path / "results").glob("theirs-*/evaluations/*.json"))
    other = shutil.copytree(theirs, tmp_path / "elsewhere" / "theirs")
    assert accuracy(other, tmp_path / "results") == accuracy(ours, tmp_path / "results")
    assert len(list((tmp_path / "results").glob("theirs-*"))) == 2, "sets of one name are told apart"


def test_a_shuffled_teacher_is_caught_explained_and_mended(
    ours: Path, confused: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        PotstillError, match="Its class order is wrong; mend it with --teacher-classes"
    ) as caught:
        accuracy(ours, tmp_path, teacher=str(confused))
    named = str(caught.value).split("--teacher-classes ")[1].split(" ")[0]
    assert named == "data" and "98.6 % where its outputs are taken in another order" in str(caught.value)
    mended = accuracy(ours, tmp_path, teacher=str(confused), teacher_classes=named)
    shutil.rmtree(ours / "evaluations")
    assert mended == accuracy(ours, tmp_path)
    listed = (ours / "teacher-classes.txt").read_text().split()
    assert listed == [str(digit) for digit in range(10)]


def test_the_command_line_stops_and_goes_on(ours: Path, confused: Path) -> None:
    call = ["evaluate", str(ours), "--student", "convnet-3-w8", "--students", "1", "--epochs", "1", "--json"]
    stopped = CliRunner().invoke(app, [*call, "--teacher", str(confused)])
    assert isinstance(stopped.exception, PotstillError)
    done = CliRunner().invoke(app, [*call, "--teacher", str(confused), "--teacher-classes", "data"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)[0]["teacher_accuracy"] == pytest.approx(0.986, abs=0.003)


@pytest.mark.parametrize("verb", ["evaluate", "label", "score", "figure tsne"])
def test_sets_of_other_data_ask_where_these_are(verb: str, ours: Path, few: RealData, tmp_path: Path) -> None:
    distill(Random(), replace(few, name="mine:a,b"), tmp_path / "set", name="set", images_per_class=1)
    done = CliRunner().invoke(app, [*verb.split(), str(ours), str(tmp_path / "set")])
    assert str(done.exception) == f"{tmp_path / 'set'} was made from mine:a,b: say where that is with --data"


def test_no_student_is_trained_where_a_later_set_is_missing(ours: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["evaluate", str(ours), str(tmp_path / "sett"), "--data", "/no/such"])
    assert f"no data set '{tmp_path / 'sett'}'" in str(done.exception)


def test_labels_are_asked_of_a_sound_teacher_for_protocols_that_read_them(
    ours: Path, confused: Path, few: RealData, tmp_path: Path
) -> None:
    mine = shutil.copytree(ours, tmp_path / "mine")
    fkd: dict[str, Any] = {"protocol": PROTOCOLS["fkd@1"], "epochs": 2, "teacher": str(confused)}
    with pytest.raises(PotstillError, match="Its class order is wrong; mend it with --teacher-classes data"):
        label_set(mine, few, **fkd)
    made = label_set(mine, few, teacher_classes="data", **fkd)
    assert made.teacher_accuracy == pytest.approx(0.98, abs=0.02)
    held = ViewLabels.load(mine, DistilledSet.load(mine).images(), few.classes.keys)
    assert held.teacher_accuracy == made.teacher_accuracy
    with alone(mine), pytest.raises(PotstillError, match=f"{mine} is being filled by process"):
        label_set(mine, few, teacher_classes="data", **fkd)
    distill(Random(), few.select(["3"]), tmp_path / "one", name="one", images_per_class=1)
    with pytest.raises(PotstillError, match="at least two classes"):
        label_set(tmp_path / "one", few.select(["3"]), **fkd)
    with pytest.raises(PotstillError, match="protocol rded@1 reads no stored labels. Allowed: fkd@1"):
        label_set(mine, few, protocol=PROTOCOLS["rded@1"], teacher="digits/teacher")
    before = Path(made.file).stat()
    assert label_set(mine, few, teacher_classes="data", **fkd) == made
    for changed in ({"epochs": 3}, {"seed": 1}):
        with pytest.raises(
            PotstillError, match=f"holds labels of these images with another {[*changed][0]}: delete"
        ):
            label_set(mine, few, **{"teacher_classes": "data", **fkd, **changed})
    assert Path(made.file).stat() == before, "good labels are left as they are"
    shutil.copy(made.file, other := shutil.copytree(tmp_path / "one", tmp_path / "other"))
    with pytest.raises(PotstillError, match="labels.safetensors labels other images"):
        export(other, tmp_path / "exported", Folder())


LABELLED = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from potstill.data import load
from potstill.evaluation import PROTOCOLS
from potstill.labelling import label_set
label_set(Path(sys.argv[1]), load("digits"), protocol=PROTOCOLS["fkd@1"], teacher="digits/teacher", epochs=420,
          on_step=lambda step: time.sleep(0.005 if len(sys.argv) > 2 and step.stage == "label" else 0))
"""


def test_sigkill_costs_no_label(ours: Path, tmp_path: Path) -> None:
    straight, killed = (shutil.copytree(ours, tmp_path / name) for name in ("straight", "killed"))
    call = [sys.executable, "-c", LABELLED]
    subprocess.run([*call, str(straight)], check=True)
    running = subprocess.Popen([*call, str(killed), "slow"])
    while not list(killed.glob("labels.partial/*/*.npy")) and running.poll() is None:
        time.sleep(0.01)
    running.kill()
    assert running.wait() == -signal.SIGKILL and not (killed / "labels.safetensors").exists()
    subprocess.run([*call, str(killed)], check=True)
    images, keys = DistilledSet.load(ours).images(), [str(digit) for digit in range(10)]
    found = [ViewLabels.load(folder, images, keys).fingerprint for folder in (straight, killed)]
    assert found[0] == found[1]
    assert not (killed / "labels.partial").exists()


def test_sets_of_two_sizes_are_seen_at_one(few: RealData, tmp_path: Path) -> None:
    """A set of 48 px judged at 32 is one of those images at 32 px, made by PIL, and is told apart from one at 48."""
    distill(Random(size=48), few, tmp_path / "large", name="large", images_per_class=1)
    large = DistilledSet.load(tmp_path / "large")
    for record in large.records:
        file = tmp_path / "small" / "train" / record.slot.key / "0.png"
        file.parent.mkdir(parents=True)
        with Image.open(large.folder / record.slot.file_name) as image:
            image.resize((32, 32), Image.Resampling.BICUBIC).save(file)
    mine = resized(large.images(), 32).float()
    theirs = torch.stack(
        [torch.from_numpy(np.array(Image.open(file))) for file in sorted(tmp_path.glob("small/*/*/*"))]
    )
    apart = (mine - theirs.permute(0, 3, 1, 2).float()).abs()
    assert apart.mean() < 0.1 and apart.max() <= 5, "PIL cuts to 8 bits after one direction"
    told: dict[str, Any] = {"protocol": PROTOCOLS["dc@1"], "student": Net.parse("convnet-3-instance-w4")}
    told |= {"teacher": None, "seeds": [0], "epochs": 1}
    own = evaluate_set(large.folder, few, **told)
    seen = evaluate_set(large.folder, few, size=32, **told)
    assert own.settings == {"training.epochs": 1} and seen.settings == {"training.epochs": 1, "size": 32}
    assert len(list((large.folder / "evaluations").glob("*.json"))) == 2
    assert len(compare([own, seen])) == 2, "never side by side"
    floats = torch.rand(2, 3, 8, 8) * 3 - 1
    assert resized(floats, 4).dtype == torch.float32 and resized(floats, 8) is floats


def test_every_judge_has_a_file_of_its_own_and_no_student_is_lost(
    ours: Path, few: RealData, tmp_path: Path
) -> None:
    mine = shutil.copytree(ours, tmp_path / "mine", ignore=shutil.ignore_patterns("evaluations"))
    stored = load_net("digits/teacher")
    other = copy.deepcopy(stored.module)
    other.head.weight.data *= 1.01  # pyright: ignore[reportAttributeAccessIssue]
    save_net(tmp_path / "other", other, stored.spec, stored.classes, stored.size, {})  # pyright: ignore[reportArgumentType]

    def judged(teacher: str, seeds: list[int]) -> Evaluation:
        student, protocol = Net.parse("convnet-3-w4"), PROTOCOLS["rded@1"]
        asked: dict[str, Any] = {"teacher": teacher, "seeds": seeds, "epochs": 1}
        return evaluate_set(mine, few, protocol=protocol, student=student, **asked)

    first = judged("digits/teacher", [0, 1])
    plain = mine / "evaluations" / "rded@1-epochs-1-convnet-3-w4-ipc2.json"
    assert judged("digits/teacher", [1]).runs == first.runs[1:]
    assert Evaluation.load(plain) == first
    second = judged(str(tmp_path / "other"), [0])
    assert (second.data_sha256, second.teacher) == (first.data_sha256, first.teacher)
    assert second.teacher_sha256 != first.teacher_sha256 and Evaluation.load(plain) == first
    held = load_evaluations([mine / "evaluations"])
    assert len(held) == 2 and len(compare(held)) == 2, "students of two teachers are not compared"
    partial = plain.parent / "partial" / plain.name
    older = {name: value for name, value in json.loads(partial.read_text()).items() if name != "judge"}
    partial.write_text(json.dumps(older))
    assert judged("digits/teacher", [0, 1]) == first, "an older file does not know its judge"


def test_a_teacher_that_knows_nothing_is_refused(ours: Path, tmp_path: Path) -> None:
    spec = Net.parse("convnet-3-w8")
    module = build(spec, 10, 32, generator("untrained"))
    save_net(tmp_path / "untrained", module.eval(), spec, load("digits").classes, 32, {})
    with pytest.raises(PotstillError, match="no order of its classes mends it"):
        accuracy(ours, tmp_path, teacher=str(tmp_path / "untrained"))
