"""`teach`: a teacher trained on real images."""

from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.terminal import Device, Json, Only, SkipBad, Test, emit, finite, progress


def teach(
    out: Annotated[Path, typer.Argument(help="The teacher's folder; a killed run goes on in it.")],
    data: Annotated[
        str, typer.Option(help="digits, an image folder, a parquet file or folder, or hub:ID.")
    ] = "digits",
    test: Test = None,
    classes: Only = None,
    net: Annotated[str, typer.Option(help="resnet-18, resnet-18-small, convnet-3, ...")] = "resnet-18",
    size: Annotated[
        int | None, typer.Option(min=1, help="The images' side in px; that of the data by default.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1)] = 300,
    batch: Annotated[int, typer.Option(min=1)] = 128,
    rate: Annotated[float, typer.Option(callback=finite, help="The learning rate of the first epoch.")] = 0.1,
    seed: Annotated[int, typer.Option()] = 0,
    skip_bad: SkipBad = False,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Trains a teacher on real images, with checkpoints, and writes it with a card."""
    from potstill.data import load
    from potstill.nets.spec import Net
    from potstill.teaching import Teaching
    from potstill.teaching import teach as train

    wanted = Teaching(net=Net.parse(net), epochs=epochs, batch=batch, rate=rate, seed=seed, size=size)
    with progress() as on_step:
        real = load(data, classes=classes, test=test, skip_bad=skip_bad, on_step=on_step)
        stored = train(real, out, wanted, device=device, on_step=on_step)
    found = stored.metrics.get("test_accuracy")
    told = f"{100 * found:.1f} % of {len(real.test)} test images" if found is not None else "no test images"
    emit(
        {"folder": str(out), "net": stored.spec.short, "metrics": dict(stored.metrics)},
        as_json,
        lambda: f"{out}: {stored.spec.label}, {told}",
    )
