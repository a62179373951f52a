"""`concepts`: class names to described, checked and ranked concepts."""

from typing import Annotated

import typer

from potstill.cli.terminal import Device, Json, Only, SkipBad, emit, progress

concepts = typer.Typer(help="Class names to described, checked and ranked concepts.", no_args_is_help=True)


@concepts.command("check")
def concepts_check(
    bank: Annotated[str, typer.Option(help="A shipped bank or a .jsonl file.")],
    encoder: Annotated[str, typer.Option(help="A CLIP: shipped name, folder or hub id.")],
    data: Annotated[str, typer.Option(help="digits, an image folder, a parquet file or folder, or hub:ID.")],
    classes: Only = None,
    keep: Annotated[int, typer.Option(help="Phrases to keep a class.")] = 5,
    skip_bad: SkipBad = False,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Ranks every class's phrases by their validity on real images (CONCORD, Eq. 10)."""
    from potstill.concepts import ConceptBank
    from potstill.concepts.check import check
    from potstill.data import load
    from potstill.encoders import Encoder

    ConceptBank.load(bank)
    with progress() as on_step:
        real = load(data, classes=classes, skip_bad=skip_bad, on_step=on_step)
        loaded = Encoder.from_pretrained(encoder, device=device)
        checked = check(bank, loaded, real, on_step=on_step)

    def text() -> str:
        lines = []
        for row in checked:
            lines.append(f"{row.key}: {row.name}")
            lines += [
                f"  {'keep' if place < keep else '    '} {validity:6.3f}  {phrase}"
                for place, (phrase, validity) in enumerate(zip(row.phrases, row.validity, strict=True))
            ]
        return "\n".join(lines)

    emit(checked, as_json, text)
