"""Stored labels replay the very views, are as small as promised, and lose as little as theory allows."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from potstill.core.errors import PotstillError
from potstill.core.progress import Step
from potstill.core.seeds import generator
from potstill.labels.codec import MOST_BITS, Codec
from potstill.labels.stored import StoredLabels
from potstill.labels.teacher import TeacherLabels
from potstill.labels.views import (
    FILE,
    Header,
    ViewLabels,
    described,
    make,
    pixels_sha256,
    published_bytes,
    view_draws,
)
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
        format=1,
        images=pixels_sha256(pictures()),
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
    stored = make(pictures(), LABELS, teacher, head(), CHANGES, bits=4 * MOST_BITS)
    seen = shown(stored, seed=0, micro=micro)
    assert len({view.epoch for view in seen}) == 4
    for view in seen:
        with torch.no_grad():
            told = teacher(view.images)
        told = told - told.mean(1, keepdim=True)
        torch.testing.assert_close(stored.logits(view), told, rtol=0, atol=0.02 * told.abs().max().item())
    for one, other in zip(seen, shown(stored, seed=9, micro=micro), strict=True):
        assert torch.equal(one.images, other.images), "students of other seeds see the same views"


def test_training_on_them_is_training_with_the_teacher(teacher: nn.Module) -> None:
    stored = make(pictures(), LABELS, teacher, head(), CHANGES, bits=4 * MOST_BITS)
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
    """More views than the codec is fitted to, so that some epochs come after it."""
    many = pictures().repeat(40, 1, 1, 1)
    labels = LABELS.repeat(40)
    header = replace(head(epochs=8, batch=100), images=pixels_sha256(many))
    straight = make(many, labels, teacher, header, CHANGES)

    class Killed(Exception):
        pass

    def stop(step: Step) -> None:
        if step.index == 7:
            raise Killed

    with pytest.raises(Killed):
        make(many, labels, teacher, header, CHANGES, keep=tmp_path, on_step=stop)
    kept = sorted(file.name for file in tmp_path.iterdir())
    assert kept == ["00005.npy", "00006.npy"]
    resumed = make(many, labels, teacher, header, CHANGES, keep=tmp_path)
    assert resumed.fingerprint == straight.fingerprint


@pytest.mark.parametrize(("classes", "least"), [(10, 20), (100, 20), (1000, 20)])
def test_twenty_times_smaller_than_published(classes: int, least: float) -> None:
    """Of the views alone; what the codec takes, below 2 bytes a class and component, is shared by all."""
    logits = torch.randn(3000, min(classes, 60), generator=generator(1))
    mixed = logits @ torch.randn(min(classes, 60), classes, generator=generator(2))
    codec = Codec.fit(mixed, published_bytes(classes) * 8 // 22)
    packed = codec.encode(mixed)
    assert published_bytes(classes) * len(logits) / packed.nbytes >= least
    assert published_bytes(1000) == 2025, "facts: 2,025 bytes a view of 1,000 classes"


def test_bits_lose_what_theory_says() -> None:
    """Lloyd-Max error of a normal variable, in its variance: Max 1960, table I (1, 2, 3, 4 bits)."""
    x = torch.randn(200_000, 1, generator=generator(5))
    pair = torch.cat([x, -x], 1)
    for bits, expected in ((1, 0.3634), (2, 0.1175), (3, 0.03454), (4, 0.009497)):
        codec = Codec.fit(pair, bits)
        error = (codec.decode(codec.encode(pair), 0, len(x)) - pair).square().mean().item()
        assert error == pytest.approx(expected, rel=0.03)


def test_bits_go_where_the_variance_is() -> None:
    """Reverse water-filling: a component of 4 ** k times the variance gets k bits more."""
    scales = torch.tensor([16.0, 4.0, 4.0, 1.0, 0.001])
    values = torch.randn(5000, 5, generator=generator(6)).double()
    values = torch.linalg.qr(values - values.mean(0)).Q * math.sqrt(5000) * scales
    turn = torch.linalg.qr(
        torch.cat([torch.ones(6, 1), torch.randn(6, 5, generator=generator(7))], 1).double()
    ).Q
    codec = Codec.fit((values @ turn[:, 1:].T).float(), 12)
    assert codec.bits.tolist() == [5, 3, 3, 1]
    assert codec.width == 12


def test_a_slice_is_read_without_the_rest(teacher: nn.Module) -> None:
    logits = 3 * torch.randn(97, 10, generator=generator(8))
    codec = Codec.fit(logits, 16 + 3)
    packed = codec.encode(logits)
    assert packed.nbytes == math.ceil(97 * 19 / 8)
    whole = codec.decode(packed, 0, 97)
    for first, count in ((0, 1), (1, 5), (13, 40), (96, 1)):
        torch.testing.assert_close(codec.decode(packed, first, count), whole[first : first + count])
    assert torch.equal(whole.sum(1).abs() < 1e-4, torch.ones(97, dtype=torch.bool)), "centred"
    assert (codec.encode(whole) == packed).all()
