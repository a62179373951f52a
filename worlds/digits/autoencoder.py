"""The KL autoencoder: 32 px digits to 8 x 8 x 4 latents."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from worlds.digits.augment import test_pixels, train_pixels, vary
from worlds.digits.training import train

STEPS, BATCH = 1600, 64
BUNDLED = Path("src/potstill/bundled/digits")


def build() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(16, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=4,
        sample_size=32,
        mid_block_add_attention=False,
    )


def main() -> None:
    torch.manual_seed(0)
    pixels, _ = train_pixels()
    model = build().to(memory_format=torch.channels_last)

    def loss(draw: torch.Generator) -> Tensor:
        rows = torch.randint(len(pixels), (BATCH,), generator=draw)
        real = vary(pixels[rows], draw) * 2 - 1
        with torch.autocast("cpu", torch.bfloat16):
            posterior = model.encode(real).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=draw)
            again = model.decode(posterior.mean + posterior.std * noise).sample
        away = again.float() - real
        spread = posterior.mean.float().square() + posterior.var.float() - 1 - posterior.logvar.float()
        return away.square().mean() + 0.3 * away.abs().mean() + 1e-4 * 0.5 * spread.mean()

    averaged, seconds = train("autoencoder", model, loss, steps=STEPS, rate=3e-3, decay=0.995)
    averaged = averaged.to(memory_format=torch.contiguous_format)
    with torch.no_grad():
        latents = torch.cat([averaged.encode(part * 2 - 1).latent_dist.mean for part in pixels.split(250)])
        averaged.register_to_config(scaling_factor=float(1 / latents.std()))
        unseen, _ = test_pixels()
        parts = [averaged(part * 2 - 1).sample for part in unseen.split(250)]
        error = F.mse_loss(torch.cat(parts), unseen * 2 - 1).item()
    averaged.save_pretrained(BUNDLED / "autoencoder")
    numbers = {"test_mse": error, "seconds": seconds, "scaling_factor": averaged.config.scaling_factor}
    (BUNDLED / "autoencoder" / "metrics.json").write_text(json.dumps(numbers, indent=2) + "\n")
    print(numbers, flush=True)


if __name__ == "__main__":
    main()
