"""Trains the experts that trajectory matching follows, into a folder with a file an expert."""

from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from potstill.core.errors import PotstillError
from potstill.core.files import sha256, write_json, write_whole
from potstill.core.lock import alone
from potstill.core.progress import OnStep, Step, silent
from potstill.core.seeds import generator
from potstill.core.settings import to_plain
from potstill.data.real import RealData
from potstill.nets.fit import Training, fit
from potstill.nets.optimiser import Sgd
from potstill.nets.schedule import Cosine
from potstill.nets.siamese import Siamese, surviving
from potstill.nets.spec import Net, build
from potstill.objectives.experts import (
    BUFFER,
    Buffer,
    Contents,
    Experts,
    Values,
    file_name,
    images_of,
    is_sound,
    of_these_images,
    read_contents,
)
from potstill.run.shards import versions


def make_buffer(
    real: RealData,
    out: Path | str,
    experts: Experts,
    *,
    seed: int = 0,
    device: str = "cpu",
    on_step: OnStep = silent,
) -> Buffer:
    """Trains experts on all training images and keeps their parameters at the start and after every epoch.

    Source: MTT (Cazenavette et al. 2022, arXiv:2203.11932), section 3.1; Siamese augmentation with all operations,
    each image with its own strength, as in its code. Departs: no flip where classes don't survive it; each expert
    has its own file with a tensor a parameter, float32 [epochs + 1, ...]. The images are held in memory as uint8. A
    killed run goes on with the missing and altered experts, whose bits don't depend on the others (on a CPU with the
    same number of threads); a finished buffer is opened. Raises PotstillError where `out` holds experts of other
    settings or data, and where training diverges.
    """
    out = Path(out)
    with alone(out):
        return _made(real, out, _wanted(real, experts, seed), device, on_step)


def _made(real: RealData, out: Path, wanted: Contents, device: str, on_step: OnStep) -> Buffer:
    contents, experts = _begun(out, wanted, real), wanted.experts
    files = {index: out / file_name(index) for index in range(experts.count)}
    missing = [index for index, file in files.items() if not is_sound(file, contents)]
    if missing:
        pixels = real.train.pixels(None, contents.size)
        for index in missing:
            values, loss = _trained(pixels, real.train.labels, contents, index, device, on_step)
            file = files[index]
            write_whole(file, partial(save_file, values))
            contents = replace(contents, files={**contents.files, file.name: sha256(file)})
            write_json(out / BUFFER, to_plain(contents))
            scalars = {"loss": loss}
            on_step(Step(stage="experts", index=index + 1, total=experts.count, scalars=scalars))
    return Buffer.load(out)


def _wanted(real: RealData, experts: Experts, seed: int) -> Contents:
    return Contents(
        experts=experts,
        data=real.name,
        classes=real.classes.keys,
        images=images_of(real),
        size=experts.size or real.size,
        mirror=real.mirror,
        seed=seed,
        versions=versions(),
    )


def _begun(out: Path, wanted: Contents, real: RealData) -> Contents:
    """What the folder already holds of the buffer wanted."""
    if not (out / BUFFER).is_file():
        write_json(out / BUFFER, to_plain(wanted))
        return wanted
    found = read_contents(out)
    if of_these_images(found, real):
        wanted = replace(wanted, images=found.images)
    names = [one.name for one in fields(Contents) if one.name not in ("versions", "files")]
    other = [name for name in names if getattr(found, name) != getattr(wanted, name)]
    if other:
        raise PotstillError(
            f"{out / BUFFER} is that of other experts ({', '.join(other)}): name another folder"
        )
    return found


def _trained(
    pixels: Tensor, labels: Tensor, contents: Contents, index: int, device: str, on_step: OnStep
) -> tuple[dict[str, Tensor], float]:
    """An expert's parameters, each [epochs + 1, ...], and the mean loss of its last epoch."""
    experts, seed, classes = contents.experts, contents.seed, len(contents.classes)
    module = build(
        Net.parse(experts.net), classes, contents.size, generator(seed, "expert", index, "start")
    ).to(device)
    snapshots = [_snapshot(module)]
    loss = fit(
        module,
        pixels,
        labels,
        classes=classes,
        training=Training(
            epochs=experts.epochs,
            batch=experts.batch,
            rate=experts.rate,
            optimiser=Sgd(momentum=0.0, weight_decay=0.0),
            schedule=Cosine(share=0.0),
        ),
        generator=generator(seed, "expert", index, "fit"),
        augment=Siamese(operations=surviving(contents.mirror)),
        stage="expert",
        after_epoch=lambda done, trained: snapshots.append(_snapshot(trained)),
        on_step=on_step,
    )
    return {name: torch.stack([one[name] for one in snapshots]) for name in snapshots[0]}, loss


def _snapshot(module: nn.Module) -> Values:
    """Copies of the parameters: on a CPU `detach().cpu()` alone would go on changing with the net."""
    return {
        name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, value in module.named_parameters()
    }
