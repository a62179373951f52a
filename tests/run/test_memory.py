"""Memory that runs out: batches are halved, the images stay the same."""

from pathlib import Path

import pytest
import torch

from potstill.core.errors import PotstillError
from potstill.core.memory import out_of_memory
from potstill.core.progress import silent
from potstill.data.real import RealData
from potstill.methods.random import Random
from potstill.run import distill


class Greedy:
    """Random images, made by a maker that takes memory for every image and has room for `room` of them."""

    kind = "random"

    def __init__(self, room: int, error: type[Exception]) -> None:
        self.room, self.error, self.asked = room, error, []

    def prepare(self, real: RealData, **settings):
        inner = Random().prepare(real, **settings)
        make = type(inner).make

        def greedy(maker, slots, on_step=silent):
            self.asked.append(len(slots))
            if len(slots) > self.room:
                torch.empty(2**45) if self.error is RuntimeError else self._fail()
            return make(maker, slots, on_step)

        return type("Maker", (type(inner),), {"make": greedy})(
            **{name: getattr(inner, name) for name in type(inner).__dataclass_fields__}
        )

    def _fail(self) -> None:
        raise self.error("no room")


def files(folder: Path) -> dict[str, bytes]:
    return {file.name + file.parent.name: file.read_bytes() for file in folder.rglob("*.png")}


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, torch.OutOfMemoryError])
def test_a_batch_that_does_not_fit_is_halved(error, few: RealData, tmp_path: Path, monkeypatch) -> None:
    """RuntimeError is the real one of torch's allocator, asked for 2^47 bytes."""
    greedy = Greedy(2, error)
    monkeypatch.setattr("potstill.run.fill.to_plain", lambda method: {"kind": "random"})
    distill(greedy, few, tmp_path / "a", name="a", images_per_class=3, batch=9)  # pyright: ignore
    assert greedy.asked == [9, 4, 2, 2, 5, 2, 3, 1, 2]
    monkeypatch.undo()
    distill(Random(), few, tmp_path / "b", name="a", images_per_class=3, batch=9)
    assert files(tmp_path / "a") == files(tmp_path / "b") and len(files(tmp_path / "a")) == 9


def test_one_image_that_does_not_fit_ends_with_its_name(few: RealData, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("potstill.run.fill.to_plain", lambda method: {"kind": "random"})
    with pytest.raises(PotstillError, match="out of memory while making 1 images from train/2/00000.png"):
        distill(Greedy(0, MemoryError), few, tmp_path, name="a", images_per_class=2)  # pyright: ignore


def test_other_errors_stay_what_they_are(few: RealData, tmp_path: Path) -> None:
    assert not out_of_memory(RuntimeError("shapes differ")) and not out_of_memory(ValueError("no"))
    with pytest.raises(RuntimeError) as found:
        torch.empty(2**45)
    assert out_of_memory(found.value)
