"""Looks on the way see neither what is matched nor the test images, and don't move the set."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from potstill.canvas.pixels import Pixels
from potstill.core.errors import PotstillError
from potstill.core.progress import silent
from potstill.data.digits import digits
from potstill.data.real import RealData
from potstill.distilled import Slot
from potstill.methods.matching import Matching
from potstill.methods.pruning import Pruning
from potstill.methods.watch import Watch
from potstill.objectives.distribution import DistributionMatching
from potstill.run import distill

WATCH = Watch(every=2, net="convnet-3-instance-w8", epochs=30, share=0.25)


@pytest.fixture(scope="module")
def real() -> RealData:
    return digits().select(("2", "5"))


def test_what_is_looked_at_is_taken_out(real: RealData) -> None:
    rest, held = WATCH.split(real)
    assert not set(rest.train.ids) & set(held.ids)
    assert set(rest.train.ids) | set(held.ids) == set(real.train.ids)
    assert held.labels.bincount().tolist() == [100, 100] and rest.test is real.test
    assert WATCH.split(real)[1].ids == held.ids != tuple(sorted(held.ids)), "drawn, and again the same"


def test_a_look_is_an_accuracy_on_the_images_held(real: RealData) -> None:
    """Real images teach two digits apart; labels turned round teach the contrary."""
    _, held = WATCH.split(real)
    rows = [*real.train.of_class(0)[:10].tolist(), *real.train.of_class(1)[:10].tolist()]
    images, labels = real.train.pixels(rows, 32).float() / 255, real.train.labels[rows]
    right, wrong = (WATCH.accuracy(images, told, held, 0) for told in (labels, 1 - labels))
    assert right > 0.8 and wrong == pytest.approx(1 - right, abs=0.1)


def test_looking_does_not_move_the_set(real: RealData, tmp_path: Path) -> None:
    dm = DistributionMatching(net="convnet-3-instance-w4", batch=20)
    rest, _ = WATCH.split(real)
    method = Matching(objective=dm, canvas=Pixels(size=16), iterations=4)
    plain = method.prepare(rest, seed=0, images_per_class=1, device="cpu")
    plain.optimise(silent)
    watched = Matching(objective=dm, canvas=Pixels(size=16), iterations=4, watch=WATCH)
    made = distill(watched, real, tmp_path / "set", name="m", images_per_class=1)
    images = plain.surface.kept(slice(0, 2))
    assert torch.equal(made.examples(real.classes.keys)[0], images)
    looks = json.loads((tmp_path / "set" / "watch.json").read_text())
    assert [look["iteration"] for look in looks] == [2, 4]
    assert all(0 <= look["accuracy"] <= 1 and look["seconds"] > 0 for look in looks)


def test_what_is_held_is_not_pruned_from_and_what_is_pruned_is_not_matched(real: RealData) -> None:
    dm, prune = (
        DistributionMatching(net="convnet-3-instance-w4"),
        Pruning(teacher="digits/teacher", share=0.1, order="hardest"),
    )
    method = Matching(objective=dm, canvas=Pixels(size=16), watch=WATCH, prune=prune)
    made = method.prepare(real, seed=0, images_per_class=4, device="cpu")
    rest, held = WATCH.split(real)
    chosen = prune.of(rest, "cpu")
    assert len(chosen.train) == 60 and not set(chosen.train.ids) & set(held.ids)
    assert list(chosen.train.ids) == [one for one in rest.train.ids if one in set(chosen.train.ids)], (
        "old order"
    )
    assert torch.equal(made.matcher.real.pixels, chosen.train.pixels(None, 16))
    slots = [Slot(key, index) for key in ("2", "5") for index in range(4)]
    begun = Pixels(size=16).prepare(chosen, slots, seed=0, device="cpu")
    assert torch.equal(made.surface.kept(slice(0, 8)), begun.kept(slice(0, 8)))


def test_what_is_refused(real: RealData) -> None:
    one = replace(real, train=real.train.take([0, *real.train.of_class(1).tolist()]))
    with pytest.raises(PotstillError, match="class '2' of digits has 1 training images, fewer than 2"):
        WATCH.split(one)
    with pytest.raises(PotstillError, match="share must lie between 0 and 1, not 1"):
        Watch(share=1.0)
    with pytest.raises(PotstillError, match="at least 1, not 0, 300"):
        Watch(every=0)
