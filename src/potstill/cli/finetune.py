"""`finetune`: a diffusion prior moved towards real images."""

from pathlib import Path
from typing import Annotated, Any

import typer

from potstill.cli.terminal import Device, Json, Only, SkipBad, emit, finite, progress
from potstill.core.progress import silent

finetune = typer.Typer(help="A diffusion prior moved towards real images.", no_args_is_help=True)


@finetune.command("minimax")
def finetune_minimax(
    out: Annotated[Path, typer.Argument(help="The fine-tuned prior's folder; a killed run goes on in it.")],
    prior: Annotated[str, typer.Option(help="A DiT: shipped name, folder or hub id.")] = "digits/dit",
    data: Annotated[
        str, typer.Option(help="digits, an image folder, a parquet file or folder, or hub:ID.")
    ] = "digits",
    classes: Only = None,
    groups: Annotated[
        int | None, typer.Option(min=1, help="Classes that share a checkpoint: 20 for ImageNet-1K; else all.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1)] = 8,
    batch: Annotated[int, typer.Option(min=1)] = 8,
    rate: Annotated[float, typer.Option(callback=finite, help="The constant learning rate.")] = 1e-3,
    average: Annotated[
        float, typer.Option(callback=finite, help="Decay of the running mean, which is what is kept.")
    ] = 0.9999,
    seed: Annotated[int, typer.Option()] = 0,
    original: Annotated[
        bool,
        typer.Option(
            "--original", help="Compute DiT as its authors do; sample with method.original=true then."
        ),
    ] = False,
    skip_bad: SkipBad = False,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Fine-tunes a DiT to be representative and diverse (Minimax), with checkpoints, and writes it with a card.

    Several GPUs: torchrun --nproc-per-node N -m potstill finetune minimax ... --device cuda.
    """
    from potstill.core.processes import Processes
    from potstill.data import load
    from potstill.finetuning import finetune as tune
    from potstill.priors.minimax import Minimax

    settings: dict[str, Any] = {"epochs": epochs, "batch": batch, "rate": rate, "average": average}
    wanted = Minimax(prior=prior, groups=groups, seed=seed, original=original, **settings)
    processes = Processes.started(device)
    with progress() as tell:
        on_step = tell if processes.first else silent
        real = load(data, classes=classes, skip_bad=skip_bad, on_step=on_step)
        made = tune(real, out, wanted, processes=processes, on_step=on_step)
    if not processes.first:
        return

    def text() -> str:
        return "\n".join(
            f"{one.folder}: {len(one.classes)} classes, {one.metrics['steps']} steps, "
            f"diffusion {one.metrics['diffusion']:.4f}, representativeness {one.metrics['representativeness']:.4f}, "
            f"diversity {one.metrics['diversity']:.4f}"
            for one in made
        )

    emit([{"folder": str(one.folder), "metrics": dict(one.metrics)} for one in made], as_json, text)
