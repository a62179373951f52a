"""Distillation, resumable at any moment: the one loop that fills a set's places, whoever makes the images."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from potstill.bundled.licences import licences
from potstill.core.errors import PotstillError
from potstill.core.lock import alone
from potstill.core.progress import OnStep, Step, silent
from potstill.core.settings import to_plain
from potstill.data.real import RealData, require_side
from potstill.distilled import DistilledSet, Manifest, Writer
from potstill.methods import Method
from potstill.run.local import Executor, InProcess
from potstill.run.shards import Bench, Facts, Finished, Order, Pile, Shard
from potstill.run.witness import Seen, known


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
    witness: Seen | None = None,
    on: Executor | None = None,
    on_step: OnStep = silent,
) -> DistilledSet:
    """Fills the folder `out` with a distilled set, or goes on where a killed run left it.

    An image depends on (seed, class, index) alone; `batch`, the number of images made and kept at a time, decides
    how much a kill can cost, and `on` (None: this process) who makes them, and nothing else (bitwise on a CPU). This
    process alone writes to `out`. Raises PotstillError where `out` holds a set made with other settings or is being
    filled, and on other processes where the method keeps a state of its own or their versions or weights differ from
    each other. Numbers below 1 are refused too.
    """
    for told, value in (("images_per_class", images_per_class), ("batch", batch)):
        if value < 1:
            raise PotstillError(f"{told} must be at least 1, not {value}")
    order = Order(
        method=method,
        real=real,
        seed=seed,
        images_per_class=images_per_class,
        device=device,
        witness=witness,
    )
    where = on or InProcess()
    with alone(out), where.crew(partial(Bench.prepare, order), device=device) as crew:
        facts = crew.ask(Bench.facts)
        require_side(facts.size)
        if facts.enduring and where.apart:
            raise PotstillError(
                f"{method.kind} makes all images together and keeps its state in the set's folder: it has no shards "
                "to spread; run it with --on local"
            )
        writer = Writer(out, _manifest(order, name, facts))
        crew.ask(partial(Bench.keep_in, folder=out))
        missing, total, memory = writer.missing, len(writer.manifest.slots()), facts.memory
        done = total - len(missing)
        shards = crew.ask(partial(Bench.plan, missing=missing, batch=batch))
        for shard, finished in crew.each(Bench.make, shards, on_step):
            _keep(writer, shard, finished, facts)
            memory, done = max(memory, finished.memory), done + len(shard.slots)
            on_step(Step(stage="distill", index=done, total=total))
        found = {}
        if witness is not None and not writer.manifest.finished:
            each = crew.each(Bench.spread, _piles(writer), silent)
            found = {pile.key: value for pile, value in each}
        keys = writer.manifest.classes["keys"]
        return writer.finish(peak_memory_gib=memory, spread=known((key, found.get(key)) for key in keys))


def _manifest(order: Order, name: str, facts: Facts) -> Manifest:
    real = order.real
    return Manifest(
        name=name,
        method=to_plain(order.method),
        data={
            "name": real.name,
            "train": len(real.train),
            "test": len(real.test),
            "sha256": real.fingerprint,
        },
        classes={"keys": real.classes.keys, "names": real.classes.names},
        images_per_class=order.images_per_class,
        size=facts.size,
        seed=order.seed,
        weights=tuple(_weights(source, told) for source, told in facts.weights.items()),
        licences=licences(list(facts.weights), real.name),
        versions=facts.versions,
        device=facts.device,
        parts=facts.parts,
        **facts.real,
    )


def _weights(source: str, told: str) -> Mapping[str, str]:
    """A model for the record: the hash of its weights and, where it has one, of its noise schedule."""
    digest, _, schedule = told.partition("+")
    return {"name": source, "sha256": digest, **({"schedule": schedule} if schedule else {})}


def _keep(writer: Writer, shard: Shard, finished: Finished, facts: Facts) -> None:
    """Keeps a shard for good; raises PotstillError where it was made by other versions or weights."""
    differing = _differing(facts.means, finished.means)
    if differing:
        raise PotstillError(f"workers must not differ, and these two do: {differing}")
    made = list(zip(shard.slots, finished.made, finished.seen, strict=True))
    writer.add(
        {slot: (one.image, {**one.details, **notes}) for slot, one, notes in made},
        finished.seconds,
        {slot: one.exact for slot, one, _ in made if one.exact is not None},
    )


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> str:
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return ", ".join(f"{name} {one.get(name)} and {other.get(name)}" for name in names)


def _piles(writer: Writer) -> Iterator[Pile]:
    """The images of each class, read from the set's folder one class at a time."""
    slots = writer.manifest.slots()
    for key in writer.manifest.classes["keys"]:
        files = [writer.folder / slot.file_name for slot in slots if slot.key == key]
        arrays: list[Any] = [np.array(Image.open(file).convert("RGB")) for file in files]
        yield Pile(key, torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2))
