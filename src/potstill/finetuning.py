"""Fine-tunes a diffusion transformer on real images by Minimax, into a folder that stands where a prior is named."""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from potstill.bundled import resolve
from potstill.bundled.licences import UNKNOWN, model_licence
from potstill.core.errors import PotstillError
from potstill.core.files import read_json, require_own, sha256, write_json, write_text
from potstill.core.lock import alone
from potstill.core.processes import Processes
from potstill.core.progress import OnStep, Step, silent
from potstill.core.seeds import generator
from potstill.core.settings import to_plain
from potstill.data.real import RealData
from potstill.nets.fit import batches
from potstill.priors import Prior
from potstill.priors.diffit import fold, require_one_embedder
from potstill.priors.dit import DiT
from potstill.priors.groups import GROUPS, Group, GroupIndex
from potstill.priors.minimax import Minimax
from potstill.priors.posterior import Posterior
from potstill.priors.tuning import Batch, State
from potstill.priors.variance import variance_table

INDEX, METRICS, CHECKPOINT = "model_index.json", "metrics.json", "checkpoint.pt"
SECONDS = 60.0
"""Between two checkpoints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A fine-tuned prior's folder, the keys of its classes, and what its metrics.json holds."""

    folder: Path
    classes: tuple[str, ...]
    metrics: Mapping[str, Any]


def finetune(
    real: RealData,
    out: Path | str,
    tuning: Minimax,
    *,
    processes: Processes | None = None,
    on_step: OnStep = silent,
) -> tuple[Tuned, ...]:
    """Fine-tunes a DiT on all training images and writes its running mean as a diffusers folder `out`, with a card.

    With `groups` there is a folder below `out` for every so many classes, in their order, and a groups.json that says
    which is whose; `Prior.from_pretrained(out)` then draws each class by its own. Images are encoded once; each step
    draws latents anew from the means and deviations that are held in memory. A killed run goes on from its last
    checkpoint to the same bits (on a CPU with the same number of threads); a finished folder is read. Several
    `processes` (None: this one, on the CPU) share every batch: the result is that of one, up to the order of sums; the
    first one writes. Raises PotstillError where `out` holds a prior of other settings or data, or one that began from
    other weights, for a prior that is no DiT, does not know a class or has embedders that differ, and where training
    diverges. A folder finished before the hash of those weights was kept is read without; a checkpoint from before is
    refused.
    """
    out, processes = Path(out), processes or Processes()
    other = GROUPS if tuning.groups is None else INDEX
    if (out / other).is_file():
        raise PotstillError(f"{out / other}: this folder holds another kind of fine-tuning: name another")
    with alone(out) if processes.first else nullcontext():
        begun = cache(lambda: Prior.from_pretrained(tuning.prior).fingerprint)
        if tuning.groups is None:
            return (_tuned(real, out, tuning, processes, begun, on_step),)
        return _grouped(real, out, tuning, tuning.groups, processes, begun, on_step)


def _grouped(
    real: RealData,
    out: Path,
    tuning: Minimax,
    count: int,
    processes: Processes,
    begun: Callable[[], str],
    on_step: OnStep,
) -> tuple[Tuned, ...]:
    """A folder for every `count` classes, and the index of them all."""
    keys, made = real.classes.keys, []
    for place, first in enumerate(range(0, len(keys), count)):
        own = real.select(keys[first : first + count])
        made.append(_tuned(own, out / f"{place:03d}", tuning, processes, begun, on_step))
    hashes = [sha256(one.folder / "transformer") for one in made]
    listed = tuple(
        Group(folder=one.folder.name, classes=one.classes, sha256=found)
        for one, found in zip(made, hashes, strict=True)
    )
    if processes.first:
        write_text(out / "README.md", _groups_card(real, tuning, len(made)))
        write_json(out / GROUPS, to_plain(GroupIndex(format=1, groups=listed)))
    return tuple(made)


def _tuned(
    real: RealData,
    out: Path,
    tuning: Minimax,
    processes: Processes,
    begun: Callable[[], str],
    on_step: OnStep,
) -> Tuned:
    """One folder; `begun` gives the fingerprint of the weights that training sets out from."""
    if (out / INDEX).is_file():
        return _finished(out, real, tuning, begun)
    if processes.first:
        require_own(out, CHECKPOINT)
    identity = _identity(real, tuning)
    started = time.perf_counter()
    prior = Prior.from_pretrained(tuning.prior, device=processes.device)
    if not isinstance(prior, DiT):
        raise PotstillError(f"Minimax fine-tunes a DiT, which {tuning.prior} is not: {type(prior).__name__}")
    require_one_embedder(prior.transformer)
    if tuning.original:
        prior.as_published()
    weights = prior.fingerprint
    own = f"{identity} {weights}"
    state = _trained(prior, real, tuning, out / CHECKPOINT, own, processes, on_step)
    state.settle()
    fold(prior.transformer)
    metrics = {
        **state.losses,
        "steps": state.step,
        "trained": sum(mean.numel() for mean in state.averages),
        "seconds": round(time.perf_counter() - started, 1),
        "identity": identity,
        "weights": weights,
    }
    if processes.first:
        _write(prior, out, tuning.prior, _card(real, tuning, metrics), metrics)
    processes.wait()
    return Tuned(folder=out, classes=real.classes.keys, metrics=metrics)


def _trained(
    prior: DiT,
    real: RealData,
    tuning: Minimax,
    file: Path,
    identity: str,
    processes: Processes,
    on_step: OnStep,
) -> State:
    """Trains the few parameters; an accelerator is waited for once an epoch and for checkpoints."""
    pairs = zip(real.classes.keys, real.classes.names, strict=True)
    rows = torch.tensor([prior.class_row(key, name) for key, name in pairs])
    latents, state = Posterior.of(real, prior, on_step), State.new(prior, len(rows), tuning)
    if file.is_file():
        state.restore(file, identity)
    table, saved = variance_table(prior.pipe.scheduler.betas).to(prior.device), -math.inf

    def order(epoch: int) -> list[Tensor]:
        return list(batches(len(real.train), tuning.batch, generator(tuning.seed, "order", epoch)))

    steps = len(order(0))
    for epoch in range(state.step // steps, tuning.epochs):
        for chosen in order(epoch)[state.step - epoch * steps :]:
            draw = generator(tuning.seed, "minimax", state.step)
            clean, labels = latents.drawn(chosen, draw), real.train.labels[chosen]
            batch = Batch.drawn(prior, clean, labels, rows, tuning.dropped, draw)
            state.advance(prior, batch, tuning, table, processes)
            if state.step == (epoch + 1) * steps:
                state.conclude(steps)
            if processes.first and time.monotonic() - saved > SECONDS:
                state.save(file, identity)
                saved = time.monotonic()
            scalars = state.losses
            on_step(Step(stage="minimax", index=state.step, total=steps * tuning.epochs, scalars=scalars))
    return state


def _write(prior: DiT, out: Path, source: str, card: str, metrics: Mapping[str, Any]) -> None:
    """Fills the folder, model_index.json last, so that a pipeline that opens is whole."""
    partial = out / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    prior.pipe.save_pretrained(partial)
    index = prior.pipe.load_config(resolve(source))
    if "id2label" in index:
        write_json(partial / INDEX, read_json(partial / INDEX) | {"id2label": index["id2label"]})
    write_text(out / "README.md", card)
    write_json(out / METRICS, {**metrics, "transformer": sha256(partial / "transformer")})
    for part in sorted(partial.iterdir(), key=lambda part: part.name == INDEX):
        shutil.rmtree(out / part.name, ignore_errors=True)
        part.replace(out / part.name)
    partial.rmdir()
    (out / CHECKPOINT).unlink(missing_ok=True)


def _identity(real: RealData, tuning: Minimax, *, pixels: bool = True) -> str:
    """What decides a prior beside the weights it begins from.

    Earlier ones told images by ids, without `pixels`, and did not tell of `original`, which there was not.
    """
    settings = to_plain(tuning)
    if not tuning.original:
        del settings["original"]
    told = {
        "tuning": settings,
        "classes": list(real.classes.keys),
        "images": list(real.train.ids),
        "labels": real.train.labels.tolist(),
        "mirror": real.mirror,
        **({"data": real.train.fingerprint(real.size).hex()} if pixels else {}),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _finished(out: Path, real: RealData, tuning: Minimax, begun: Callable[[], str]) -> Tuned:
    metrics = read_json(out / METRICS) if (out / METRICS).is_file() else {}
    if metrics.get("identity") not in [_identity(real, tuning, pixels=told) for told in (True, False)]:
        raise PotstillError(f"{out} holds a prior of other settings or data: name another folder")
    if "weights" in metrics and metrics["weights"] != begun():
        raise PotstillError(f"{out} holds a prior that began from other weights: name another folder")
    if "transformer" in metrics and metrics["transformer"] != sha256(out / "transformer"):
        raise PotstillError(f"{out / 'transformer'} was altered: delete {out} to make it again")
    return Tuned(folder=out, classes=real.classes.keys, metrics=metrics)


def _front(tuning: Minimax) -> list[str]:
    licence = model_licence(tuning.prior)
    if licence == UNKNOWN:
        return []
    return ["---", f"license: {licence.id}", f"base_model: {json.dumps(tuning.prior)}", "---"]


def _groups_card(real: RealData, tuning: Minimax, count: int) -> str:
    lines = [
        *_front(tuning),
        f"# {tuning.prior} fine-tuned by Minimax on {real.name} in {count} groups of classes",
        "",
        f"- `{GROUPS}` says which class is drawn by which folder; each folder has a card of its own.",
        "- Use: wherever a prior is named, `--set method.prior=THIS_FOLDER`.",
    ]
    return "\n".join(lines) + "\n"


def _card(real: RealData, tuning: Minimax, metrics: Mapping[str, Any]) -> str:
    lines = [
        *_front(tuning),
        f"# {tuning.prior} fine-tuned by Minimax on {real.name}",
        "",
        f"- Data: {real.name}, {len(real.train)} training images of {len(real.classes)} classes"
        f" (keys: {', '.join(real.classes.keys[:20])}{', ...' if len(real.classes) > 20 else ''}).",
        f"- Training: {tuning.epochs} epochs, {metrics['steps']} steps of {tuning.batch}, AdamW at {tuning.rate:g}, "
        f"seed {tuning.seed}; {metrics['trained']} parameters trained, folded into a plain DiT.",
        f"- Loss: diffusion + {tuning.representative:g} x representativeness + {tuning.diverse:g} x diversity, "
        f"{tuning.memory} vectors of a class remembered; in the last epoch "
        f"{metrics['diffusion']:.4f}, {metrics['representativeness']:.4f}, {metrics['diversity']:.4f}.",
        f"- Weights: the running mean at {tuning.average:g}, in which the base model still has "
        f"{tuning.average ** metrics['steps']:.2f}.",
        f"- Seconds of the last run: {metrics['seconds']}.",
        f"- Licence: that of {tuning.prior}, {model_licence(tuning.prior).id}.",
        "- Use: wherever a prior is named, `--set method.prior=THIS_FOLDER`; diffusers' `DiTPipeline` opens it too.",
    ]
    if tuning.original:
        lines.append("- Trained as DiT's authors compute it: sample with `--set method.original=true`.")
    return "\n".join(lines) + "\n"
