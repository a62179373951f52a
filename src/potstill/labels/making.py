"""Asking a teacher about every view of a training, block by block."""

import io
import json
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from potstill.core.files import write_whole
from potstill.core.progress import OnStep, Step, silent
from potstill.core.settings import to_plain
from potstill.labels.codec import Codec
from potstill.labels.header import Header, block_dither, view_draws
from potstill.labels.views import ViewLabels, codec_arrays, read_codec
from potstill.nets.augment import Augment, in_turn
from potstill.nets.fit import View, views
from potstill.nets.predict import predict
from potstill.run.local import Executor, InProcess

FIRST = "00000.safetensors"
"""The codec and the first block's words, in a folder of finished blocks."""
SMALLER = 20.2
"""By how much the file is smaller than the source's format, by default; where the views are very few, by less."""
LEAST_BITS = 4
FRAME = 640
"""Bytes that names and shapes of the file's arrays take."""


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
        codec, words = read_codec(held), {0: held["words"]}
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
                arrays = {"words": made, **codec_arrays(codec)}
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


def _npy(array: np.ndarray) -> bytes:
    held = io.BytesIO()
    np.save(held, array)
    return held.getvalue()
