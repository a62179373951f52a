"""A teacher trained on real digits: it learns, resumes to the same bits after SIGKILL, and says what it is."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from potstill import teaching
from potstill.core.errors import PotstillError
from potstill.core.lock import alone
from potstill.core.seeds import generator
from potstill.data import load
from potstill.data.real import Classes, RealData, empty_split, tensor_split
from potstill.nets.augment import Crop, Flip, Shift
from potstill.nets.spec import Net
from potstill.nets.store import load_net
from potstill.teaching import Teaching, teach

SHORT = Teaching(net=Net.parse("convnet-3-w8"), epochs=3)


def test_it_learns_and_the_folder_says_so(tmp_path: Path) -> None:
    real = load("digits")
    steps: list[tuple[int, int]] = []
    stored = teach(real, tmp_path, SHORT, on_step=lambda step: steps.append((step.index, step.total)))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert stored.classes == real.classes and stored.size == 32
    with torch.no_grad():
        pixels = real.test.pixels(None, 32).float() / 255
        right = (stored.module(pixels).argmax(1) == real.test.labels).float().mean().item()
    assert right == pytest.approx(stored.metrics["test_accuracy"], abs=2e-3) and right > 0.8
    card = (tmp_path / "README.md").read_text()
    assert f"{100 * stored.metrics['test_accuracy']:.2f} %" in card and "4000 training images" in card
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    again = teach(real, tmp_path, SHORT, on_step=lambda step: pytest.fail("trained again"))
    assert again.metrics == stored.metrics
    with pytest.raises(PotstillError, match="holds a net trained with other settings or data"):
        teach(real, tmp_path, Teaching(net=SHORT.net, epochs=4))


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import torch; torch.set_num_threads(1)\n"
        "from potstill.data import load; from potstill.nets.spec import Net\n"
        "from potstill.teaching import Teaching, teach\n"
        "teach(load('digits'), Path(sys.argv[1]), Teaching(net=Net.parse('convnet-3-w8'), epochs=4))"
    )
    call = [sys.executable, "-c", code]
    subprocess.run([*call, str(tmp_path / "straight")], check=True)
    running = subprocess.Popen([*call, str(tmp_path / "killed")])
    file = tmp_path / "killed" / "checkpoint.pt"
    while not file.exists() and running.poll() is None:
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert file.exists() and not (tmp_path / "killed" / "config.json").exists()
    subprocess.run([*call, str(tmp_path / "killed")], check=True)
    straight, resumed = (load_net(tmp_path / name).module.state_dict() for name in ("straight", "killed"))
    assert all(torch.equal(value, resumed[name]) for name, value in straight.items())


def test_a_teacher_of_other_images_of_the_same_names_is_refused(tmp_path: Path) -> None:
    images = torch.randint(256, (2, 8, 3, 16, 16), generator=generator("images"), dtype=torch.uint8)
    labels, classes = torch.arange(8) % 2, Classes(("a", "b"), ("a", "b"))
    one, other = (
        RealData("mine", classes, tensor_split(each, labels, "train"), empty_split(), 16, False)
        for each in images
    )
    short = Teaching(net=Net.parse("convnet-3-w4"), epochs=1)
    stored = teach(one, tmp_path, short)
    with pytest.raises(PotstillError, match="trained with other settings or data"):
        teach(other, tmp_path, short)
    older = {**stored.metrics, "identity": teaching._identity(one, short, 16, pixels=False)}
    config = json.loads((tmp_path / "config.json").read_text()) | {"metrics": older}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert teach(other, tmp_path, short).metrics == older, "an older teacher does not know its pixels"


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(PotstillError, match=r"is not empty \(README.md\).*name another folder"):
        teach(load("digits"), tmp_path, SHORT)
    assert [file.name for file in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_folder_that_is_being_filled_is_left_alone(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(PotstillError, match="is being filled by process"):
        teach(load("digits"), tmp_path, SHORT)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rate", [0.0, -0.1, float("nan"), float("inf")])
def test_a_rate_out_of_range_is_named(tmp_path: Path, rate: float) -> None:
    with pytest.raises(PotstillError, match=f"rate of training must be positive and finite, not {rate}"):
        teach(load("digits"), tmp_path, Teaching(net=SHORT.net, rate=rate))


def test_what_is_done_to_the_images() -> None:
    assert SHORT.changes(32, mirror=True) == (Shift(most=4), Flip())
    assert SHORT.changes(224, mirror=False) == (Crop(least_area=0.08),)
