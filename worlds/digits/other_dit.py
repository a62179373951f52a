"""A DiT in the digits' latent space that learned other images, for LD3M's study of what a denoiser was trained on.

`python -m worlds.digits.other_dit FOLDER` trains it on ten classes of another data set, such as CIFAR-10's, as far as
`--steps` goes, and writes a pipeline to `runs/other-dit`. Its rows have the names of the digits, so that a chain of
digits can begin at them; none of them has ever stood for one.
"""

import argparse
from pathlib import Path

import torch

from potstill.core.blocks import in_blocks
from potstill.data import load
from worlds.digits.dit import autoencoder, fit, save

CLASSES, PER_CLASS, SIDE = 10, 2000, 32


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "data", help="an image folder, a parquet file or folder, or hub:ID, of at least ten classes"
    )
    options.add_argument("--steps", type=int, default=1500)
    options.add_argument("--out", type=Path, default=Path("runs/other-dit"))
    chosen = options.parse_args()
    real, vae = load(chosen.data), autoencoder()
    rows = torch.cat([real.train.of_class(label)[:PER_CLASS] for label in range(CLASSES)])
    pixels = real.train.pixels(rows, SIDE).float() / 255
    with torch.no_grad():
        latents = in_blocks(lambda part: vae.encode(part * 2 - 1).latent_dist.mean, pixels)
    latents = latents * vae.config.scaling_factor
    averaged, seconds = fit("other-dit", latents, real.train.labels[rows], chosen.steps)
    save(chosen.out, averaged, vae)
    print(f"{chosen.out}: {chosen.steps} steps on {len(rows)} images of {real.name}, {seconds:.0f} s")


if __name__ == "__main__":
    main()
