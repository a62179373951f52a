"""Cards carry the numbers that lie beside their model."""

import pytest

from worlds.digits import cards
from worlds.digits.store import swap_in, write_metrics


@pytest.fixture
def folder(monkeypatch, tmp_path):
    for module in ("cards", "store"):
        monkeypatch.setattr(f"worlds.digits.{module}.BUNDLED", tmp_path)
    return tmp_path


def test_a_card_tells_nested_numbers(folder):
    write_metrics("dit", {"seconds": 120.0, "guidance_1.5": {"teacher_accuracy": 0.9871}})
    text = cards.card("dit")
    assert "| guidance 1.5: teacher accuracy | 0.9871 |" in text
    assert "in 2 min" in text


def test_a_new_model_takes_over_card_and_numbers(folder):
    swap_in("dit", lambda fresh: (fresh.mkdir(), (fresh / "weights").write_text("old")))
    (folder / "dit" / "README.md").write_text("card")
    write_metrics("dit", {"a": 1})
    swap_in("dit", lambda fresh: (fresh.mkdir(), (fresh / "weights").write_text("new")))
    write_metrics("dit", {"b": 2})
    assert sorted(file.name for file in (folder / "dit").iterdir()) == [
        "README.md",
        "metrics.json",
        "weights",
    ]
    assert (folder / "dit" / "weights").read_text() == "new"
    assert sorted(path.name for path in folder.iterdir()) == ["dit"]
    assert (folder / "dit" / "metrics.json").read_text() == '{\n  "a": 1,\n  "b": 2\n}\n'
