"""`score` and the intervals of `compare` as a user meets them."""

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from potstill.cli import app
from potstill.core.errors import PotstillError
from potstill.data.digits import digits
from potstill.evaluation.record import Evaluation, Run
from potstill.methods.random import Random
from potstill.run import distill


def potstill(*words: object) -> str:
    """What a command prints."""
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False).stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two digits as an image folder with a test split, and a set of one image a class made from it."""
    real = digits().select(["3", "8"])
    for part, split, count in (("train", real.train, 12), ("test", real.test, 10)):
        for label, key in enumerate(real.classes.keys):
            (tmp_path / "real" / part / key).mkdir(parents=True)
            for row in split.of_class(label)[:count].tolist():
                pixels = split.pixels([row], 32)[0].permute(1, 2, 0).contiguous()
                Image.fromarray(pixels.numpy()).save(tmp_path / "real" / part / key / f"{row}.png")
    distill(Random(), real, tmp_path / "set", name="mine", images_per_class=1, seed=0)
    return tmp_path


def test_score(folder: Path) -> None:
    words = [
        "score",
        folder / "set",
        "--data",
        folder / "real",
        "--protocol",
        "hard@1",
        "--student",
        "convnet-3-w4",
    ]
    words += ["--students", 2, "--epochs", 1, "--pool", folder / "pool", "--scores", "hlr, ior"]
    told = potstill(*words)
    assert "hlr: hard label recovery" in told and "| mine, seed 0, ipc 1 |" in told
    assert "(n 2)" in told and "full, hard labels" in told
    (again,) = json.loads(potstill(*words, "--json"))
    assert [one["score"] for one in again["scores"]] == ["hlr", "ior"]
    assert again["protocol"] == "hard@1*" and set(again["scores"][0]["values"]) == {"0", "1"}
    with pytest.raises(PotstillError, match="unknown score 'lsr'"):
        potstill(*words[:-1], "lsr")


def test_compare_tells_of_correction_and_takes_bootstrap_intervals(tmp_path: Path) -> None:
    for name, gain in (("a", 0.0), ("b", 0.1)):
        for seed in range(6):
            accuracy = 0.5 + gain + 0.001 * seed * (1 + 10 * gain)
            run = Run(seed=0, accuracy=accuracy, top5=1.0, seconds=1.0, train_loss=0.1)
            Evaluation(
                name=name,
                set_seed=seed,
                method="m",
                data="d",
                ipc=1,
                protocol="hard@1",
                student="s",
                teacher=None,
                runs=(run,),
            ).save(tmp_path / "evaluations" / f"{name}{seed}.json")
    told = potstill("compare", tmp_path, "--intervals", "bootstrap")
    assert "p (Holm)" in told and "BCa bootstrap" in told and "| gain |" in told
    assert "Student's t" in potstill("compare", tmp_path)
    (listed,) = json.loads(potstill("compare", tmp_path / "evaluations", "--baseline", "b", "--json"))
    assert [row["name"] for row in listed["rows"]] == ["a", "b"] and listed["baseline"] == "b"
    assert listed["differences"]["a"]["verdict"] == "loss" and listed["differences"]["a"]["n"] == 6
    (resampled,) = json.loads(potstill("compare", tmp_path, "--intervals", "bootstrap", "--json"))
    assert resampled["differences"]["b"]["low"] > listed["differences"]["a"]["low"]
    with pytest.raises(PotstillError, match="no such file or folder: .*nowhere"):
        potstill("compare", tmp_path / "nowhere")
