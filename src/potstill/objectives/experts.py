"""Buffers of experts: nets trained on real images, kept after every epoch, and how they are read."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.core.files import read_json, sha256
from potstill.core.settings import from_plain
from potstill.data.real import RealData
from potstill.nets.spec import Net

FORMAT = 1
BUFFER = "buffer.json"

Values = Mapping[str, Tensor]
"""The parameters of a net, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """How many experts there are, and how each is trained.

    Source: MTT (Cazenavette et al. 2022, arXiv:2203.11932), section 3.1, with the numbers of its code: a hundred
    ConvNets, 50 epochs of plain SGD at a constant rate, without momentum and weight decay, batches of 256. `net` is
    a short name, `size` the side in px, None that of the data. Raises PotstillError for a value out of range.
    """

    net: str = "convnet-3-instance"
    count: int = 100
    epochs: int = 50
    batch: int = 256
    rate: float = 0.01
    size: int | None = None

    def __post_init__(self) -> None:
        Net.parse(self.net)
        if min(self.count, self.epochs, self.batch) < 1:
            raise PotstillError(
                "experts need a count, epochs and batch of at least 1, not "
                f"{self.count}, {self.epochs}, {self.batch}"
            )
        if not 0 < self.rate < math.inf:
            raise PotstillError(f"the rate of experts must be positive, not {self.rate}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What buffer.json says.

    `images` tells the training images (`images_of`), `classes` are keys in the order of labels,
    `files` the experts that are done, each with its hex SHA-256, and `versions` those that began the buffer.
    """

    format: int = FORMAT
    experts: Experts
    data: str
    classes: tuple[str, ...]
    images: str
    size: int
    mirror: bool
    seed: int
    versions: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """A finished buffer; nothing of an expert is read before it is asked for, and then its hash is checked once."""

    folder: Path
    contents: Contents
    _checked: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    @classmethod
    def load(cls, folder: Path) -> "Buffer":
        """Opens a buffer; raises PotstillError where it is missing, malformed or unfinished."""
        contents = read_contents(folder)
        done, wanted = len(contents.files), contents.experts.count
        if done < wanted:
            raise PotstillError(
                f"{folder / BUFFER}: {done} of {wanted} experts are done; finish the buffer first"
            )
        return cls(folder=folder, contents=contents)

    @property
    def fingerprint(self) -> str:
        """The hex SHA-256 of the hashes of all experts."""
        told = "\n".join(f"{name} {digest}" for name, digest in sorted(self.contents.files.items()))
        return hashlib.sha256(told.encode()).hexdigest()

    def expert(self, index: int, first: int, last: int) -> tuple[Values, Values]:
        """The parameters of an expert (0-based) after `first` and after `last` epochs, float32 on the CPU.

        Raises PotstillError that names the file where it is missing, altered or too short.
        """
        file = self.folder / file_name(index)
        if file.name not in self._checked and not is_sound(file, self.contents):
            raise PotstillError(
                f"{file} is missing or was altered: the same `potstill buffer` again makes it anew"
            )
        self._checked.add(file.name)
        try:
            with safe_open(file, "pt") as held:
                slices = {name: held.get_slice(name) for name in sorted(held.keys())}
                early, late = ({name: rows[at] for name, rows in slices.items()} for at in (first, last))
        except (SafetensorError, IndexError) as error:
            raise PotstillError(f"{file} does not hold epochs {first} and {last}: {error}") from error
        return early, late


def images_of(real: RealData) -> str:
    """The fingerprint of the training images, hex."""
    return real.train.fingerprint(real.size).hex()


def of_these_images(contents: Contents, real: RealData) -> bool:
    """Whether a buffer's experts have seen these training images; older ones tell them by ids and labels alone."""
    named = json.dumps([list(real.train.ids), real.train.labels.tolist()])
    return contents.images in (images_of(real), hashlib.sha256(named.encode()).hexdigest())


def is_sound(file: Path, contents: Contents) -> bool:
    """Whether an expert's file is there and the one on record."""
    return file.is_file() and sha256(file) == contents.files.get(file.name)


def file_name(index: int) -> str:
    """The file of an expert in its buffer."""
    return f"expert-{index:05d}.safetensors"


def read_contents(folder: Path) -> Contents:
    """Reads the buffer.json of a folder; raises PotstillError where it is missing or malformed."""
    file = folder / BUFFER
    contents = from_plain(Contents, read_json(file), str(file))
    if contents.format != FORMAT:
        raise PotstillError(f"{file}: unknown format {contents.format}. Allowed: {FORMAT}.")
    return contents
