"""`buffer`: experts trained on real images, for trajectory matching."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from potstill.cli.terminal import Device, Json, Only, SkipBad, Test, emit, finite, progress
from potstill.core.errors import PotstillError

if TYPE_CHECKING:
    from potstill.methods.pruning import Pruning

Order = Literal["easiest", "hardest"]


def buffer(
    out: Annotated[Path, typer.Argument(help="The buffer's folder; a killed run goes on in it.")],
    data: Annotated[
        str, typer.Option(help="digits, an image folder, a parquet file or folder, or hub:ID.")
    ] = "digits",
    test: Test = None,
    classes: Only = None,
    net: Annotated[
        str, typer.Option(help="convnet-3-instance, convnet-5-instance, ...")
    ] = "convnet-3-instance",
    size: Annotated[
        int | None, typer.Option(min=1, help="The images' side in px; that of the data by default.")
    ] = None,
    experts: Annotated[int, typer.Option(min=1, help="How many nets are trained.")] = 100,
    epochs: Annotated[int, typer.Option(min=1)] = 50,
    batch: Annotated[int, typer.Option(min=1)] = 256,
    rate: Annotated[float, typer.Option(callback=finite, help="The learning rate of every epoch.")] = 0.01,
    hold_out: Annotated[
        float | None,
        typer.Option(
            help="The share of each class's images that `watch` keeps for its looks, as its `share`."
        ),
    ] = None,
    prune: Annotated[
        str | None, typer.Option(help="A teacher by whose loss images are left out, as `prune` does.")
    ] = None,
    keep: Annotated[
        float | None, typer.Option(help="The share of each class's images that --prune keeps; else 0.6.")
    ] = None,
    order: Annotated[
        Order | None, typer.Option(help="Which of them --prune keeps; else the easiest.")
    ] = None,
    seed: Annotated[int, typer.Option()] = 0,
    skip_bad: SkipBad = False,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Trains experts on real images and keeps them after every epoch, for trajectory matching."""
    from potstill.buffers import make_buffer
    from potstill.data import load
    from potstill.methods.watch import Watch
    from potstill.objectives.experts import Experts

    pruning = _pruning(prune, keep, order)
    wanted = Experts(net=net, count=experts, epochs=epochs, batch=batch, rate=rate, size=size)
    with progress() as on_step:
        real = load(data, classes=classes, test=test, skip_bad=skip_bad, on_step=on_step)
        if hold_out is not None:
            real, _ = Watch(share=hold_out).split(real)
        if pruning:
            real = pruning.of(real, device)
        made = make_buffer(real, out, wanted, seed=seed, device=device, on_step=on_step)
    held = made.contents
    emit(
        {"folder": str(out), "contents": held},
        as_json,
        lambda: (
            f"{out}: {wanted.count} experts, {wanted.net}, {wanted.epochs} epochs on {held.data} at {held.size} px"
        ),
    )


def _pruning(teacher: str | None, share: float | None, order: Order | None) -> "Pruning | None":
    from potstill.methods.pruning import Pruning

    chosen: Any = {name: value for name, value in (("share", share), ("order", order)) if value is not None}
    if chosen and teacher is None:
        raise PotstillError("--keep and --order are for --prune TEACHER, which is not there")
    return Pruning(teacher=teacher, **chosen) if teacher else None
