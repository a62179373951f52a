"""The one command goes on where it stopped."""

import subprocess
from pathlib import Path

import pytest

from worlds.digits import train


def test_a_failed_step_is_run_again_and_a_finished_one_is_not(monkeypatch, tmp_path):
    monkeypatch.setattr(train, "BUILD", tmp_path / "build")
    with pytest.raises(subprocess.CalledProcessError):
        train.step(("no_such_module",))
    assert not list(tmp_path.rglob("*.done"))
    train.step(("store",))
    assert [file.name for file in tmp_path.rglob("*.done")] == ["store.done"]
    (tmp_path / "build" / "no_such_module.done").touch()
    train.step(("no_such_module",))


def test_every_step_is_a_module_of_the_world():
    for lane in train.LANES:
        for words in lane:
            assert Path(train.__file__).with_name(f"{words[0]}.py").exists()
