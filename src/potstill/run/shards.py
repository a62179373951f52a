"""What a shard is, and the bench that makes it: the same ones whichever process they are made in."""

import importlib.metadata
import platform
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.core.memory import out_of_memory
from potstill.core.progress import OnStep
from potstill.data.real import RealData
from potstill.distilled import Slot
from potstill.methods import Made, Maker, Method
from potstill.run.witness import Seen, Witness

PACKAGES = ("potstill", "torch", "diffusers", "transformers", "numpy", "pillow")


@runtime_checkable
class Grouping(Protocol):
    """A maker that makes certain images only together; what it groups takes the place of `batch`."""

    def group(self, missing: Sequence[Slot]) -> Sequence[Slot]:
        """Those of the missing slots that are made together with the first of them."""
        ...


@runtime_checkable
class Enduring(Protocol):
    """A maker whose work outlives its process: it keeps its state in the set's folder and goes on from there."""

    @property
    def parts(self) -> int:
        """An image is made of parts x parts training images."""
        ...

    def keep_in(self, folder: Path) -> None:
        """Where to keep the state."""
        ...


@dataclass(frozen=True, slots=True)
class Shard:
    """Slots that are made together; it costs this much when whoever makes it dies."""

    slots: tuple[Slot, ...]

    def __str__(self) -> str:
        first, last = self.slots[0], self.slots[-1]
        return f"{len(self.slots)} images from {first.file_name} to {last.file_name}"


@dataclass(frozen=True, slots=True)
class Pile:
    """The finished images of a class, uint8 [n, 3, height, width]."""

    key: str
    images: Tensor

    def __str__(self) -> str:
        return f"a look at the images of class {self.key!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A shard's images and what was seen of them, in its order, the seconds it took, and the bench's memory and means.

    `memory` is the process's peak in GiB; `means` are the versions and weights that made it.
    """

    made: Sequence[Made]
    seen: Sequence[Mapping[str, Any]]
    seconds: float
    memory: float
    means: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a set's record tells of the bench; `means` are versions and weights, `parts` as in `Manifest`."""

    size: int
    parts: int
    enduring: bool
    weights: Mapping[str, str]
    means: Mapping[str, str]
    versions: Mapping[str, str]
    device: str
    memory: float
    real: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """All that decides a set's images, and the device to make them on."""

    method: Method
    real: RealData
    seed: int
    images_per_class: int
    device: str
    witness: Seen | None


@dataclass(frozen=True)
class Bench:
    """A maker, and a witness where one is asked for, made ready for an order."""

    maker: Maker
    witness: Witness | None
    device: str
    weights: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def prepare(cls, order: Order) -> "Bench":
        """Loads the models; raises PotstillError where settings, data and models don't fit together."""
        asked = {"seed": order.seed, "images_per_class": order.images_per_class, "device": order.device}
        maker = order.method.prepare(order.real, **asked)
        seen = order.witness
        witness = None if seen is None else Witness.prepare(seen, order.real, device=order.device)
        weights = dict(maker.weights) | (dict(witness.weights) if witness else {})
        return cls(maker, witness, order.device, weights)

    @property
    def means(self) -> Mapping[str, str]:
        """What must be the same wherever a set is made: versions, and weights by name."""
        return {**versions(), **self.weights}

    def facts(self) -> Facts:
        """What the record tells."""
        space = self.witness.space if self.witness else None
        return Facts(
            size=self.maker.size,
            parts=self.maker.parts if isinstance(self.maker, Enduring) else 1,
            enduring=isinstance(self.maker, Enduring),
            weights=self.weights,
            means=self.means,
            versions=versions(),
            device=device_name(self.device),
            memory=peak_memory_gib(self.device),
            real={
                "real_scores": space.real_scores() if space else {},
                "real_means": space.real_means() if space else {},
                "real_spread": self.witness.real_spread if self.witness else {},
            },
        )

    def keep_in(self, folder: Path) -> None:
        """Tells a maker that keeps a state where to keep it."""
        if isinstance(self.maker, Enduring):
            self.maker.keep_in(folder)

    def plan(self, missing: Sequence[Slot], batch: int) -> list[Shard]:
        """The shards of the missing slots, in their order: `batch` slots each, or what the maker makes together."""
        rest, shards = list(missing), []
        while rest:
            slots = self.maker.group(rest) if isinstance(self.maker, Grouping) else rest[:batch]
            shards.append(Shard(tuple(slots)))
            taken = set(slots)
            rest = [slot for slot in rest if slot not in taken]
        return shards

    def make(self, shard: Shard, on_step: OnStep) -> Finished:
        """Makes a shard and looks at it; where memory runs out, in halves, as far as the maker lets it be parted."""
        started = time.perf_counter()
        made = self._made(shard.slots, on_step)
        seconds = time.perf_counter() - started
        seen = self.witness.describe(shard.slots, made) if self.witness else [{} for _ in made]
        memory = peak_memory_gib(self.device)
        return Finished(made=made, seen=seen, seconds=seconds, memory=memory, means=self.means)

    def _made(self, slots: Sequence[Slot], on_step: OnStep) -> Sequence[Made]:
        try:
            return self.maker.make(slots, on_step)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            reason = " ".join(str(error).split())[:200]
        if len(slots) == 1 or isinstance(self.maker, Grouping):
            raise PotstillError(
                f"out of memory while making {Shard(tuple(slots))} together, which can't be parted: take a smaller "
                f"prior, dtype=bfloat16 or another device ({reason})"
            )
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()
        half = len(slots) // 2
        return [*self._made(slots[:half], on_step), *self._made(slots[half:], on_step)]

    def spread(self, pile: Pile, on_step: OnStep) -> float | None:
        """How far a class's images lie apart; None where nobody looks or there is one image."""
        return self.witness.spread(pile.images) if self.witness else None


def versions() -> Mapping[str, str]:
    """The versions of what decides a result."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }


def device_name(device: str) -> str:
    """The device as a reader would know it."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def peak_memory_gib(device: str) -> float:
    """The most memory this process has held, in GiB: the accelerator's where there is one."""
    if device.startswith("cuda"):
        return round(torch.cuda.max_memory_allocated(device) / 2**30, 3)
    unit = 1 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30, 3)
