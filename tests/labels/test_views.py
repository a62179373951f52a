"""Stored labels replay the very views, are as small as promised, and lose as little as theory allows."""

import copy
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from potstill.core.errors import PotstillError
from potstill.core.progress import Step
from potstill.core.seeds import generator
from potstill.labels.header import Header, view_draws
from potstill.labels.making import make, published_bytes
from potstill.labels.stored import StoredLabels
from potstill.labels.teacher import TeacherLabels
from potstill.labels.views import FILE, FORMAT, ViewLabels, described, pixels_sha256
from potstill.nets.augment import Augment, Crop, CutMix, Flip, in_turn
from potstill.nets.fit import Training, View, fit
from potstill.nets.spec import Net, build
from potstill.nets.store import frozen

KEYS = tuple("abcde")
LABELS = torch.arange(21) % 5
CHANGES: tuple[Augment, ...] = (Crop(least_area=0.3), Flip(), CutMix())


def pictures() -> Tensor:
    return torch.randint(256, (21, 3, 16, 16), generator=generator("pictures"), dtype=torch.uint8)


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    return frozen(build(Net(width=8), 5, 16, generator("teacher")))


def head(epochs: int = 4, batch: int = 5) -> Header:
    return Header(
        format=FORMAT,
        images=pixels_sha256(pictures()),
        count=21,
        classes=KEYS,
        teacher="ConvNet-3, width 8",
        teacher_sha256="",
        seed=3,
        epochs=epochs,
        batch=batch,
        changes=described(CHANGES),
    )


class Overhear:
    """A loss that keeps what the student is shown."""

    def __init__(self) -> None:
        self.seen: list[View] = []

    def __call__(self, logits: Tensor, view: View) -> Tensor:
        self.seen.append(view)
        return logits.square().mean()


def shown(stored: ViewLabels, seed: int, micro: int | None = None) -> list[View]:
    overhear = Overhear()
    fit(
        build(Net(width=4), 5, 16, generator(seed)),
        pictures(),
        LABELS,
        classes=5,
        training=Training(epochs=4, batch=5, micro=micro),
        generator=StoredLabels(stored, 20.0).draws(seed),
        loss=overhear,
        augment=in_turn(CHANGES),
    )
    return overhear.seen


@pytest.mark.parametrize("micro", [None, 2])
def test_the_labels_are_the_teachers_on_the_very_views(teacher: nn.Module, micro: int | None) -> None:
    """With so many bits that nothing is lost to speak of; 21 images in fives end in a batch of six."""
    stored = make(pictures(), LABELS, teacher, head(), CHANGES, bits=40)
    seen = shown(stored, seed=0, micro=micro)
    assert len({view.epoch for view in seen}) == 4
    for view in seen:
        with torch.no_grad():
            told = teacher(view.images)
        told = told - told.mean(1, keepdim=True)
        torch.testing.assert_close(stored.logits(view), told, rtol=0, atol=0.01 * told.abs().max().item())
    for one, other in zip(seen, shown(stored, seed=9, micro=micro), strict=True):
        assert torch.equal(one.images, other.images), "students of other seeds see the same views"


def test_training_on_them_is_training_with_the_teacher(teacher: nn.Module) -> None:
    stored = make(pictures(), LABELS, teacher, head(), CHANGES, bits=40)
    losses = []
    for labeller in (StoredLabels(stored, 20.0), TeacherLabels(teacher, 20.0)):
        module = build(Net(width=4), 5, 16, generator(0))
        losses.append(
            fit(
                module,
                pictures(),
                LABELS,
                classes=5,
                training=Training(epochs=4, batch=5),
                generator=view_draws(3),
                loss=labeller.loss,
                augment=in_turn(CHANGES),
            )
        )
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


def test_saved_and_loaded(teacher: nn.Module, tmp_path: Path) -> None:
    stored = make(pictures(), LABELS, teacher, head(), CHANGES)
    stored.save(tmp_path)
    again = ViewLabels.load(tmp_path, pictures(), KEYS)
    assert again.header == stored.header and again.fingerprint == stored.fingerprint
    for view in shown(stored, 0):
        assert torch.equal(again.logits(view), stored.logits(view))


def test_what_is_refused(teacher: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match=r"no such file: .*labels.safetensors. Run `potstill label"):
        ViewLabels.load(tmp_path, pictures(), KEYS)
    stored = make(pictures(), LABELS, teacher, head(), CHANGES)
    stored.save(tmp_path)
    for images, keys in ((pictures() ^ 1, KEYS), (pictures(), KEYS[::-1])):
        with pytest.raises(PotstillError, match="labels other images or classes"):
            ViewLabels.load(tmp_path, images, keys)
    stored.check(batch=5, epochs=3, changes=CHANGES)
    for asked in (
        {"batch": 6, "epochs": 4, "changes": CHANGES},
        {"batch": 5, "epochs": 5, "changes": CHANGES},
        {"batch": 5, "epochs": 4, "changes": CHANGES[:2]},
    ):
        with pytest.raises(PotstillError, match="labels 4 epochs of batches of 5"):
            stored.check(**asked)  # pyright: ignore[reportArgumentType]
    (tmp_path / FILE).write_bytes(b"nothing")
    with pytest.raises(PotstillError, match="labels.safetensors holds no labels of views"):
        ViewLabels.load(tmp_path, pictures(), KEYS)
    for labels, temperature in ((None, 20.0), (stored, 0.0), (stored, None)):
        with pytest.raises(PotstillError, match="stored labels need"):
            StoredLabels(labels, temperature)


def test_a_killed_labelling_goes_on_to_the_same_labels(teacher: nn.Module, tmp_path: Path) -> None:
    """Two epochs a block, four blocks, of which the last has one epoch."""
    many = pictures().repeat(100, 1, 1, 1)
    labels = LABELS.repeat(100)
    header = replace(head(epochs=7, batch=500), images=pixels_sha256(many), count=2100)
    begun, elsewhere, older = (tmp_path / name for name in ("begun", "elsewhere", "older"))
    older.mkdir()
    np.save(older / "00001.npy", np.zeros(3, np.uint32))  # of an unknown codec, so that it is made again
    straight = make(many, labels, teacher, header, CHANGES, keep=older)

    class Killed(Exception):
        pass

    def stop(step: Step) -> None:
        if step.index == 6:
            raise Killed

    with pytest.raises(Killed):
        make(many, labels, teacher, header, CHANGES, keep=begun, on_step=stop)
    kept = sorted(file.name for file in begun.iterdir())
    assert kept == ["00000.safetensors", "00001.npy"]
    shutil.copytree(begun, elsewhere)
    resumed = make(many, labels, teacher, header, CHANGES, keep=begun)
    assert resumed.fingerprint == straight.fingerprint
    moved = make(many, labels, rounding_otherwise(teacher), header, CHANGES, keep=elsewhere)
    for one, other in zip(moved.blocks[:2], straight.blocks[:2], strict=True):
        assert np.array_equal(one, other), "what is finished is kept as it is"
    for block in range(4):
        moved.codec.decode(moved.blocks[block], moved._dither(block))


def rounding_otherwise(teacher: nn.Module) -> nn.Module:
    """The teacher as another machine's arithmetic has it."""
    other = copy.deepcopy(teacher)
    with torch.no_grad():
        other.head.weight *= 1 + 1e-4  # pyright: ignore[reportOperatorIssue]
    return other


def test_the_whole_file_is_twenty_times_smaller_than_published(tmp_path: Path) -> None:
    """Ten classes of ten images for 300 epochs, with header and codec."""
    images = torch.randint(256, (100, 3, 8, 8), generator=generator("many"), dtype=torch.uint8)
    labels, keys = torch.arange(100) % 10, tuple("abcdefghij")
    header = replace(head(epochs=300, batch=10), images=pixels_sha256(images), count=100, classes=keys)
    teacher = frozen(build(Net(width=4), 10, 8, generator("teacher")))
    make(images, labels, teacher, header, CHANGES).save(tmp_path)
    assert 20 <= 300 * 100 * published_bytes(10) / (tmp_path / FILE).stat().st_size <= 22
    assert published_bytes(1000) == 2025, "facts: 2,025 bytes a view of 1,000 classes"


def test_a_broken_file_is_told(teacher: nn.Module, tmp_path: Path) -> None:
    stored = make(pictures(), LABELS, teacher, head(), CHANGES)
    words = stored.blocks[0].copy()
    words[3] ^= 1 << 7
    broken = replace(stored, blocks=(words,))
    with pytest.raises(PotstillError, match="the labels are broken"):
        broken.logits(shown(stored, 0)[0])
