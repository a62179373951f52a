"""Labels of a teacher for every view of a training, in one small file beside the images."""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import local
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from potstill.core.errors import PotstillError
from potstill.core.files import write_whole
from potstill.core.progress import OnStep, Step, silent
from potstill.core.settings import from_plain, to_plain
from potstill.labels.codec import Codec
from potstill.labels.header import Header, block_dither, view_draws
from potstill.nets.augment import Augment, in_turn
from potstill.nets.fit import View, views
from potstill.nets.predict import predict
from potstill.run.local import Executor, InProcess

FILE = "labels.safetensors"
FORMAT = 2
ACCURACY = "teacher_accuracy"
FIRST = "00000.safetensors"
"""The codec and the first block's words, in a folder of finished blocks."""
TENSORS = ("means", "basis", "deviation")
SMALLER = 20.2
"""By how much the file is smaller than the source's format, by default; where the views are very few, by less."""
LEAST_BITS = 4
FRAME = 640
"""Bytes that names and shapes of the file's arrays take."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ViewLabels:
    """Stored labels of a set. Source: fast knowledge distillation (Shen & Xing 2022, arXiv:2112.01528).

    Departs: the source keeps boxes, flips, partners and half-precision logits, 2 c + 25 bytes a view of c classes; here
    a seed gives the views again and a `Codec` keeps the logits, in a twentieth of that or less. `blocks` are the
    codec's words for each of the header's blocks; each thread keeps the last block that it has read.
    `teacher_accuracy` is the share of real test images that the teacher named right, where it was asked.
    """

    header: Header
    codec: Codec
    blocks: tuple[np.ndarray, ...]
    teacher_accuracy: float | None = None
    _last: local = field(default_factory=local, init=False, repr=False)

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of header and codes."""
        digest = hashlib.sha256(json.dumps(to_plain(self.header), sort_keys=True).encode())
        for words in self.blocks:
            digest.update(words.tobytes())
        return digest.hexdigest()

    @property
    def teacher(self) -> str:
        """The teacher's architecture, for the record."""
        return self.header.teacher

    def draws(self) -> torch.Generator:
        """The generator that gives the labelled views again."""
        return view_draws(self.header.seed)

    def logits(self, view: View) -> Tensor:
        """The centred logits [n, c] that were kept for a view; raises PotstillError where they can't be read."""
        block, place = divmod(view.epoch, self.header.span)
        if getattr(self._last, "block", None) != block:
            self._last.components = self.codec.decode(self.blocks[block], self._dither(block))
            self._last.block = block
        first = place * self.header.count + view.index * self.header.batch + view.start
        components = self._last.components[first : first + len(view.rows)]
        return self.codec.logits(components.to(view.shares), view.shares)

    def _dither(self, block: int) -> Tensor:
        views = len(self.header.blocks[block]) * self.header.count
        return block_dither(self.header.seed, block, views, self.codec.components)

    def check(self, *, batch: int, epochs: int, changes: Sequence[Augment]) -> None:
        """Raises PotstillError where a training would see other views, or more of them, than are labelled."""
        head = self.header
        found = (batch, described(changes))
        if found != (head.batch, head.changes) or epochs > head.epochs:
            raise PotstillError(
                f"{FILE} labels {head.epochs} epochs of batches of {head.batch} changed by {head.changes}; asked for "
                f"are {epochs} of {batch} changed by {found[1]}: run `potstill label` again"
            )

    def save(self, folder: Path) -> None:
        """Writes the file into a set's folder, whole or not at all."""
        lengths = np.array([len(words) for words in self.blocks], np.int32)
        arrays = {"words": np.concatenate(self.blocks), "lengths": lengths, **_arrays(self.codec)}
        text = {"header": json.dumps(to_plain(self.header)), ACCURACY: json.dumps(self.teacher_accuracy)}
        write_whole(folder / FILE, lambda path: save_file(arrays, path, metadata=text))

    @classmethod
    def load(cls, folder: Path, images: Tensor, classes: Sequence[str]) -> "ViewLabels":
        """Reads a set's labels.

        Raises PotstillError that names the file where it is missing, malformed, or of other images or classes.
        """
        file = folder / FILE
        if not file.is_file():
            raise PotstillError(f"no such file: {file}. Run `potstill label {folder}` first.")
        try:
            with safe_open(file, "numpy") as held:
                header = from_plain(Header, json.loads(held.metadata()["header"]), str(file))
                known = json.loads(held.metadata().get(ACCURACY, "null"))
                arrays = {name: held.get_tensor(name) for name in held.keys()}
                codec = _codec(arrays)
                blocks = tuple(np.split(arrays["words"], arrays["lengths"].cumsum()[:-1]))
        except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise PotstillError(f"{file} holds no labels of views: {error}") from error
        if header.format != FORMAT:
            raise PotstillError(f"{file}: unknown format {header.format}. Allowed: {FORMAT}.")
        if header.images != pixels_sha256(images) or header.classes != tuple(classes):
            raise PotstillError(f"{file} labels other images or classes: run `potstill label {folder}` again")
        return cls(header=header, codec=codec, blocks=blocks, teacher_accuracy=known)


@dataclass(frozen=True, slots=True)
class Block:
    """Epochs whose labels are coded together, and the block's place among all."""

    index: int
    epochs: range

    def __str__(self) -> str:
        return f"labels of epochs {self.epochs.start + 1} to {self.epochs.stop}"


class ViewTeacher:
    """A teacher and the images, on a device; it is asked about one block of views after another.

    One generator draws the views of all epochs, so those before a block are drawn and passed over; for a block that
    lies behind, it begins again. Arguments as of `make`; the teacher given stays where it is.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        teacher: nn.Module,
        header: Header,
        changes: Sequence[Augment],
        device: str,
    ) -> None:
        self._pixels = images.permute(0, 2, 3, 1).contiguous().to(device)
        self._targets, self._teacher = labels.to(device), deepcopy(teacher).to(device)
        self._header, self._augment = header, in_turn(changes)
        self._draws, self._epoch = view_draws(header.seed), 0

    def first(self, bits: float, on_step: OnStep) -> tuple[Codec, np.ndarray]:
        """The codec, fitted to the first block, and its words for this block."""
        logits, shares = self.told(self._header.blocks[0], on_step)
        codec = Codec.fit(logits, shares, bits)
        return codec, self._coded(codec, 0, logits, shares)

    def words(self, block: Block, on_step: OnStep, *, codec: Codec) -> np.ndarray:
        """The codec's words for a block."""
        return self._coded(codec, block.index, *self.told(block.epochs, on_step))

    def told(self, epochs: range, on_step: OnStep) -> tuple[Tensor, Tensor]:
        """Logits and class shares [n, c] of all views of these epochs."""
        if epochs.start < self._epoch:
            self._draws, self._epoch = view_draws(self._header.seed), 0
        logits, shares = [], []
        for epoch in range(self._epoch, epochs.stop):
            for view in self._views(epoch):
                if epoch in epochs:
                    logits.append(predict(self._teacher, view.images).float().cpu())
                    shares.append(view.shares.cpu())
            if epoch in epochs:
                on_step(Step(stage="label", index=epoch + 1, total=self._header.epochs))
        self._epoch = epochs.stop
        return torch.cat(logits), torch.cat(shares)

    def _views(self, epoch: int) -> Iterator[View]:
        settings = len(self._header.classes), self._header.batch, torch.float32, self._augment
        return views(self._pixels, self._targets, *settings, self._draws, epoch)

    def _coded(self, codec: Codec, block: int, logits: Tensor, shares: Tensor) -> np.ndarray:
        dither = block_dither(self._header.seed, block, len(logits), codec.components)
        return codec.encode(logits, shares, dither)


def make(
    images: Tensor,
    labels: Tensor,
    teacher: nn.Module,
    header: Header,
    changes: Sequence[Augment],
    *,
    bits: float | None = None,
    keep: Path | None = None,
    device: str = "cpu",
    on: Executor | None = None,
    on_step: OnStep = silent,
) -> ViewLabels:
    """Asks a teacher for its logits on every view of a training, and keeps them in about `bits` bits a view.

    Images are uint8 [n, 3, s, s], labels int64 [n]; the teacher is in eval mode. Left out, `bits` is what makes
    all of it `SMALLER` times smaller than the source's, but at least `LEAST_BITS`. The codec is fitted to the first
    block of epochs. `keep` is a folder for the codec and finished blocks: the same call goes on there, whoever asks
    (`on`; None: this process), and gives the same labels, to the arithmetic of whoever asked for each block. Blocks
    without the codec that they were written with are made again. This process alone writes to `keep`.
    """
    blocks = [Block(index, epochs) for index, epochs in enumerate(header.blocks)]
    files = {block.index: keep / f"{block.index:05}.npy" for block in blocks[1:]} if keep else {}
    begun = keep / FIRST if keep else None
    codec: Codec | None = None
    words: dict[int, np.ndarray] = {}
    if begun and begun.is_file():
        held = load_file(begun)
        codec, words = _codec(held), {0: held["words"]}
        words |= {index: np.load(file) for index, file in files.items() if file.is_file()}
    where = on or InProcess()
    within, after = (silent, on_step) if where.apart else (on_step, silent)

    def finish(index: int, made: np.ndarray) -> None:
        words[index] = made.copy()  # Ray's arrays stay in its store as long as they are used
        if index in files:
            write_whole(files[index], lambda path: path.write_bytes(_npy(made)))
        done = sum(len(header.blocks[index]) for index in words)
        after(Step(stage="label", index=done, total=header.epochs))

    bits = _affordable(header) if bits is None else bits
    ready = partial(ViewTeacher, images, labels, teacher, header, changes, device)
    with where.crew(ready, device=device) as crew:
        if codec is None:
            codec, made = crew.ask(partial(ViewTeacher.first, bits=bits, on_step=within))
            if begun:
                arrays = {"words": made, **_arrays(codec)}
                write_whole(begun, lambda path: save_file(arrays, path))
            finish(0, made)
        missing = [block for block in blocks if block.index not in words]
        for block, made in crew.each(partial(ViewTeacher.words, codec=codec), missing, within):
            finish(block.index, made)
    return ViewLabels(header=header, codec=codec, blocks=tuple(words[block.index] for block in blocks))


def published_bytes(classes: int) -> int:
    """What the source's format takes for a view: a half a class, a box of 16, a flip of 1, a partner of 8."""
    return 2 * classes + 25


def _affordable(header: Header) -> float:
    """Bits a view that leave room for header and codec in a file `SMALLER` times smaller than the source's."""
    classes, views = len(header.classes), header.epochs * header.count
    beside = len(json.dumps(to_plain(header))) + FRAME + 4 * classes**2 + 12 * len(header.blocks)
    return max(8 * (views * published_bytes(classes) / SMALLER - beside) / views, LEAST_BITS)


def described(changes: Sequence[Augment]) -> str:
    """Changes as JSON: their names and settings."""
    plain: list[Any] = [{"change": type(change).__name__, **to_plain(change)} for change in changes]
    return json.dumps(plain)


def pixels_sha256(images: Tensor) -> str:
    """The SHA-256 of images, uint8, in their order."""
    digest = hashlib.sha256(str(list(images.shape)).encode())
    digest.update(images.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _arrays(codec: Codec) -> dict[str, np.ndarray]:
    return {
        "means": codec.means.half().contiguous().numpy(),
        "basis": codec.basis.half().contiguous().numpy(),
        "deviation": codec.deviation.numpy(),
        "step": np.array(codec.step, np.float32),
    }


def _codec(arrays: Mapping[str, np.ndarray]) -> Codec:
    tensors = {name: torch.from_numpy(arrays[name]).float() for name in TENSORS}
    return Codec(**tensors, step=float(arrays["step"]))


def _npy(array: np.ndarray) -> bytes:
    held = io.BytesIO()
    np.save(held, array)
    return held.getvalue()
