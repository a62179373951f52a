"""Evaluations survive the disk, strictly."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from potstill.core.errors import PotstillError
from potstill.evaluation.record import Evaluation, Run


def run(seed: int, accuracy: float) -> Run:
    return Run(seed=seed, accuracy=accuracy, top5=0.99, seconds=1.5, train_loss=0.01)


EVALUATION = Evaluation(
    name="digits_random",
    set_seed=3,
    method="random",
    data="digits",
    ipc=10,
    protocol="rded@1*",
    student="ConvNet-3, width 128",
    teacher=None,
    runs=(run(0, 0.5), run(1, 0.7), run(2, 0.9)),
    settings={"epochs": 30, "betas": [0.9, 0.99]},
    versions={"torch": "2.13"},
)


def test_round_trip(tmp_path: Path) -> None:
    EVALUATION.save(tmp_path / "a" / "evaluation.json")
    assert Evaluation.load(tmp_path / "a" / "evaluation.json") == EVALUATION


def test_mean_and_deviation() -> None:
    assert EVALUATION.mean == pytest.approx(0.7)
    assert EVALUATION.deviation == pytest.approx(0.2)
    assert replace(EVALUATION, runs=EVALUATION.runs[:1]).deviation is None


@pytest.mark.parametrize("change", [{"ipc": "ten"}, {"best": 0.9}, {"runs": [{"seed": 1}]}])
def test_a_file_at_fault_is_named(tmp_path: Path, change: dict[str, object]) -> None:
    file = tmp_path / "evaluation.json"
    EVALUATION.save(file)
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(PotstillError, match="evaluation.json"):
        Evaluation.load(file)
