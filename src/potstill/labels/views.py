"""Labels of a teacher for every view of a training, in one small file beside the images."""

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor, nn

from potstill.core.errors import PotstillError
from potstill.core.files import write_whole
from potstill.core.progress import OnStep, Step, silent
from potstill.core.seeds import generator
from potstill.core.settings import from_plain, to_plain
from potstill.labels.codec import MOST_BITS, Codec
from potstill.nets.augment import Augment, in_turn
from potstill.nets.fit import View, views
from potstill.nets.predict import predict

FILE = "labels.safetensors"
FORMAT = 1
CALIBRATION = 4096
SMALLER = 22
"""By how much codes are smaller than the source's format, by default; file and codec take a little of it back."""
"""Views, at least, that the codec is fitted to; whole epochs, all of them where there are fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the labels are of: the images, the views, the classes in their order, and the teacher.

    The views are those that `nets.fit.views` draws, epoch after epoch, from the generator of `seed`, in batches of
    `batch` changed by `changes` (settings as JSON): a seed stands for every box, flip and partner.
    """

    format: int
    images: str
    classes: tuple[str, ...]
    teacher: str
    teacher_sha256: str
    seed: int
    epochs: int
    batch: int
    changes: str

    @property
    def digest(self) -> str:
        """A short hash of all of it."""
        return hashlib.sha256(json.dumps(to_plain(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ViewLabels:
    """Stored labels of a set. Source: fast knowledge distillation (Shen & Xing 2022, arXiv:2112.01528).

    Departs: the source keeps boxes, flips, partners and half-precision logits, 2 c + 25 bytes a view of c classes; here
    a seed gives the views again and a `Codec` keeps the logits, in a twentieth of that or less.
    """

    header: Header
    codec: Codec
    codes: np.ndarray

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of header and codes."""
        digest = hashlib.sha256(json.dumps(to_plain(self.header), sort_keys=True).encode())
        digest.update(self.codes.tobytes())
        return digest.hexdigest()

    @property
    def teacher(self) -> str:
        """The teacher's architecture, for the record."""
        return self.header.teacher

    def draws(self) -> torch.Generator:
        """The generator that gives the labelled views again."""
        return view_draws(self.header.seed)

    def logits(self, view: View) -> Tensor:
        """The centred logits [n, c] that were kept for a view."""
        first = view.index * self.header.batch + view.start
        return self.codec.decode(self.codes[view.epoch], first, len(view.rows))

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
        arrays = {
            "codes": self.codes,
            "bits": self.codec.bits.numpy(),
            **{name: getattr(self.codec, name).numpy().astype(np.float32) for name in ("mean", "basis")},
            "levels": _finite(self.codec),
        }
        text = {"header": json.dumps(to_plain(self.header))}
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
                arrays = {
                    name: held.get_tensor(name) for name in ("codes", "bits", "mean", "basis", "levels")
                }
        except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise PotstillError(f"{file} holds no labels of views: {error}") from error
        if header.format != FORMAT:
            raise PotstillError(f"{file}: unknown format {header.format}. Allowed: {FORMAT}.")
        if header.images != pixels_sha256(images) or header.classes != tuple(classes):
            raise PotstillError(f"{file} labels other images or classes: run `potstill label {folder}` again")
        return cls(header=header, codec=_codec(arrays), codes=arrays["codes"])


def make(
    images: Tensor,
    labels: Tensor,
    teacher: nn.Module,
    header: Header,
    changes: Sequence[Augment],
    *,
    bits: int | None = None,
    keep: Path | None = None,
    on_step: OnStep = silent,
) -> ViewLabels:
    """Asks a teacher for its logits on every view of a training, and keeps them in `bits` bits a view.

    Images are uint8 [n, 3, s, s], labels int64 [n]; the teacher is in eval mode. Left out, `bits` is what makes
    the codes `SMALLER` times smaller than the source's. The codec is fitted to the first epochs. `keep` is a folder for
    finished epochs: the same call goes on there and gives the same labels.
    """
    count = len(header.classes)
    device = next(teacher.parameters()).device
    pixels, targets = images.permute(0, 2, 3, 1).contiguous().to(device), labels.to(device)

    def seen(epoch: int) -> Iterator[View]:
        augment = in_turn(changes)
        return views(pixels, targets, count, header.batch, torch.float32, augment, draws, epoch)

    def told(epoch: int) -> Tensor:
        return torch.cat([predict(teacher, view.images).float().cpu() for view in seen(epoch)])

    draws, fitted = view_draws(header.seed), min(header.epochs, -(-CALIBRATION // len(images)))
    first = [told(epoch) for epoch in range(fitted)]
    codec = Codec.fit(torch.cat(first), published_bytes(count) * 8 // SMALLER if bits is None else bits)
    codes = []
    for epoch in range(header.epochs):
        kept = keep / f"{epoch:05}.npy" if keep else None
        if epoch < fitted:
            codes.append(codec.encode(first[epoch]))
        elif kept and kept.is_file():
            codes.append(np.load(kept))
            for _ in seen(epoch):
                pass
        else:
            codes.append(codec.encode(told(epoch)))
            if kept:
                write_whole(kept, lambda path: path.write_bytes(_npy(codes[-1])))
        on_step(Step(stage="label", index=epoch + 1, total=header.epochs))
    return ViewLabels(header=header, codec=codec, codes=np.stack(codes))


def published_bytes(classes: int) -> int:
    """What the source's format takes for a view: a half a class, a box of 16, a flip of 1, a partner of 8."""
    return 2 * classes + 25


def view_draws(seed: int) -> torch.Generator:
    """The generator of the views of stored labels."""
    return generator(seed, "labels", "views")


def described(changes: Sequence[Augment]) -> str:
    """Changes as JSON: their names and settings."""
    plain: list[Any] = [{"change": type(change).__name__, **to_plain(change)} for change in changes]
    return json.dumps(plain)


def pixels_sha256(images: Tensor) -> str:
    """The SHA-256 of images, uint8, in their order."""
    digest = hashlib.sha256(str(list(images.shape)).encode())
    digest.update(images.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _npy(array: np.ndarray) -> bytes:
    held = io.BytesIO()
    np.save(held, array)
    return held.getvalue()


def _finite(codec: Codec) -> np.ndarray:
    """The levels that are there, component after component."""
    flat = [codec.levels[place, : 2**count] for place, count in enumerate(codec.bits.tolist())]
    return torch.cat(flat).numpy()


def _codec(arrays: dict[str, np.ndarray]) -> Codec:
    mean, basis, bits, flat = (torch.from_numpy(arrays[name]) for name in ("mean", "basis", "bits", "levels"))
    levels = torch.full((len(bits), 2**MOST_BITS), torch.inf)
    place = 0
    for component, count in enumerate(bits.tolist()):
        levels[component, : 2**count] = flat[place : place + 2**count]
        place += 2**count
    return Codec(mean=mean, basis=basis, bits=bits, levels=levels)
