"""`convert`: an original checkpoint as a folder that a prior opens."""

from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.terminal import out_console


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="The authors' model.ckpt of the class-conditional LDM.")],
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
) -> None:
    """Converts the class-conditional latent diffusion model of LD3M (cin256-v2); no pickled code is run."""
    from potstill.priors.ldm_checkpoint import convert as converted

    converted(checkpoint, out)
    out_console.tell(str(out))
