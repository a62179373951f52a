"""Labels of a teacher for every view of a training, in one small file beside the images."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import local
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.core.files import write_whole
from potstill.core.settings import from_plain, to_plain
from potstill.labels.codec import Codec
from potstill.labels.header import Header, block_dither, view_draws
from potstill.nets.augment import Augment
from potstill.nets.fit import View

FILE = "labels.safetensors"
FORMAT = 2
ACCURACY = "teacher_accuracy"
TENSORS = ("means", "basis", "deviation")


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
                f"are {epochs} of {batch} changed by {found[1]}: delete it and run `potstill label` again"
            )

    def save(self, folder: Path) -> None:
        """Writes the file into a set's folder, whole or not at all."""
        lengths = np.array([len(words) for words in self.blocks], np.int32)
        arrays = {"words": np.concatenate(self.blocks), "lengths": lengths, **codec_arrays(self.codec)}
        text = {"header": json.dumps(to_plain(self.header)), ACCURACY: json.dumps(self.teacher_accuracy)}
        write_whole(folder / FILE, lambda path: save_file(arrays, path, metadata=text))

    @classmethod
    def load(cls, folder: Path, images: Tensor, classes: Sequence[str]) -> "ViewLabels":
        """Reads a set's labels; raises PotstillError as `read` does, and for those of other images or classes."""
        held = cls.read(folder)
        if held.header.images != pixels_sha256(images) or held.header.classes != tuple(classes):
            raise PotstillError(
                f"{folder / FILE} labels other images or classes: run `potstill label {folder}` again"
            )
        return held

    @classmethod
    def read(cls, folder: Path) -> "ViewLabels":
        """Reads labels, whatever they are of; raises PotstillError that names a missing or malformed file."""
        file = folder / FILE
        if not file.is_file():
            raise PotstillError(f"no such file: {file}. Run `potstill label {folder}` first.")
        try:
            with safe_open(file, "numpy") as held:
                header = from_plain(Header, json.loads(held.metadata()["header"]), str(file))
                known = json.loads(held.metadata().get(ACCURACY, "null"))
                arrays = {name: held.get_tensor(name) for name in held.keys()}
                codec = read_codec(arrays)
                blocks = tuple(np.split(arrays["words"], arrays["lengths"].cumsum()[:-1]))
        except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise PotstillError(f"{file} holds no labels of views: {error}") from error
        if header.format != FORMAT:
            raise PotstillError(f"{file}: unknown format {header.format}. Allowed: {FORMAT}.")
        return cls(header=header, codec=codec, blocks=blocks, teacher_accuracy=known)


def described(changes: Sequence[Augment]) -> str:
    """Changes as JSON: their names and settings."""
    plain: list[Any] = [{"change": type(change).__name__, **to_plain(change)} for change in changes]
    return json.dumps(plain)


def pixels_sha256(images: Tensor) -> str:
    """The SHA-256 of images, uint8, in their order."""
    digest = hashlib.sha256(str(list(images.shape)).encode())
    digest.update(images.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def codec_arrays(codec: Codec) -> dict[str, np.ndarray]:
    """A codec as arrays to save."""
    return {
        "means": codec.means.half().contiguous().numpy(),
        "basis": codec.basis.half().contiguous().numpy(),
        "deviation": codec.deviation.numpy(),
        "step": np.array(codec.step, np.float32),
    }


def read_codec(arrays: Mapping[str, np.ndarray]) -> Codec:
    """The codec of saved arrays."""
    tensors = {name: torch.from_numpy(arrays[name]).float() for name in TENSORS}
    return Codec(**tensors, step=float(arrays["step"]))
