"""Distillation in this process, resumable at any moment."""

import importlib.metadata
import platform
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from potstill.bundled.licences import licences
from potstill.core.progress import OnStep, Step, silent
from potstill.core.settings import to_plain
from potstill.data.real import RealData
from potstill.distilled import DistilledSet, Manifest, Slot, Writer
from potstill.methods import Method
from potstill.run.witness import Witness

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


def distill(
    method: Method,
    real: RealData,
    out: Path,
    *,
    name: str,
    images_per_class: int,
    seed: int = 0,
    batch: int = 64,
    device: str = "cpu",
    witness: Witness | None = None,
    on_step: OnStep = silent,
) -> DistilledSet:
    """Fills the folder `out` with a distilled set, or goes on where a killed run left it.

    An image depends on (seed, class, index) alone; `batch`, the number of images made and kept at a time, decides
    how much a kill can cost and nothing else (bitwise on a CPU). Raises PotstillError where `out` holds a set made
    with other settings.
    """
    maker = method.prepare(real, seed=seed, images_per_class=images_per_class, device=device)
    enduring = maker if isinstance(maker, Enduring) else None
    weights = dict(maker.weights) | (dict(witness.weights) if witness else {})
    manifest = Manifest(
        name=name,
        method=to_plain(method),
        data={"name": real.name, "train": len(real.train), "test": len(real.test)},
        classes={"keys": real.classes.keys, "names": real.classes.names},
        images_per_class=images_per_class,
        size=maker.size,
        seed=seed,
        weights=tuple({"name": source, "sha256": digest} for source, digest in weights.items()),
        licences=licences(list(weights), real.name),
        versions=versions(),
        device=device_name(device),
        real_scores=witness.space.real_scores() if witness else {},
        real_means=witness.space.real_means() if witness else {},
        real_spread=witness.real_spread if witness else {},
        parts=enduring.parts if enduring else 1,
    )
    writer = Writer(out, manifest)
    if enduring:
        enduring.keep_in(out)
    total = len(manifest.slots())
    while missing := writer.missing:
        slots = maker.group(missing) if isinstance(maker, Grouping) else missing[:batch]
        started = time.perf_counter()
        made = maker.make(slots, on_step)
        seconds = time.perf_counter() - started
        seen = witness.describe(slots, made) if witness else [{} for _ in made]
        writer.add(
            {
                slot: (one.image, dict(one.details) | notes)
                for slot, one, notes in zip(slots, made, seen, strict=True)
            },
            seconds,
            {slot: one.exact for slot, one in zip(slots, made, strict=True) if one.exact is not None},
        )
        on_step(Step(stage="distill", index=total - len(missing) + len(slots), total=total))
    found = witness.spread(writer.folder, writer.manifest.slots()) if witness else {}
    return writer.finish(peak_memory_gib=peak_memory_gib(device), spread=found)


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
