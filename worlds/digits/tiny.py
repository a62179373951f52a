"""The tiny decoder: an AutoencoderTiny from the autoencoder's scaled latents to the same pixels."""

import time

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor
from torch.nn import functional as F

from worlds.digits.augment import test_pixels, train_pixels, vary
from worlds.digits.autoencoder import BUNDLED
from worlds.digits.store import write_metrics
from worlds.digits.training import train

STEPS, BATCH = 1500, 64


def build() -> AutoencoderTiny:
    """Width 16, two doublings; diffusers adds the map from [0, 1] to [-1, 1] itself."""
    return AutoencoderTiny(
        encoder_block_out_channels=(16, 16, 16),
        num_encoder_blocks=(1, 1, 1),
        decoder_block_out_channels=(16, 16, 16),
        num_decoder_blocks=(3, 2, 0),
    )


def main() -> None:
    torch.manual_seed(2)
    vae = AutoencoderKL.from_pretrained(BUNDLED / "autoencoder").eval().requires_grad_(False)
    scale = vae.config.scaling_factor
    pixels, _ = train_pixels()
    model = build().to(memory_format=torch.channels_last)

    def loss(draw: torch.Generator) -> Tensor:
        rows = torch.randint(len(pixels), (BATCH,), generator=draw)
        real = vary(pixels[rows], draw) * 2 - 1
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            latents = vae.encode(real).latent_dist.mean.float() * scale
            asked = blurred(latents, draw)
            shown = vae.decode(asked / scale).sample.float()
        with torch.autocast("cpu", torch.bfloat16):
            again = model.decode(asked).sample
            code = model.encode(real).latents
        away = again.float() - shown
        return away.square().mean() + 0.1 * away.abs().mean() + 0.1 * (code.float() - latents).square().mean()

    averaged, seconds = train("tiny_decoder", model, loss, steps=STEPS, rate=3e-3, decay=0.995)
    averaged = averaged.to(memory_format=torch.contiguous_format)
    averaged.save_pretrained(BUNDLED / "tiny_decoder")
    write_metrics("tiny_decoder", measure(vae, averaged) | {"seconds": seconds})


def blurred(latents: Tensor, draw: torch.Generator) -> Tensor:
    """Half of the latents as they are, half mixed with another's and with noise, as a denoiser's guesses."""
    share = torch.rand(len(latents), 1, 1, 1, generator=draw)
    noise = torch.randn(latents.shape, generator=draw)
    mixed = latents.lerp(latents.roll(1, 0), share) + 0.5 * torch.rand(share.shape, generator=draw) * noise
    kept = torch.rand(share.shape, generator=draw) < 0.5
    return torch.where(kept, latents, mixed)


@torch.no_grad()
def measure(vae: AutoencoderKL, tiny: AutoencoderTiny) -> dict[str, float]:
    """Mean squared errors on [-1, 1] over the 1,000 test digits, and how much faster decoding is."""
    real = test_pixels()[0] * 2 - 1
    latents = torch.cat([vae.encode(part).latent_dist.mean for part in real.split(250)])

    def slow(part: Tensor) -> Tensor:
        return vae.decode(part).sample

    def quick(part: Tensor) -> Tensor:
        return tiny.decode(part * vae.config.scaling_factor).sample

    shown, again = (torch.cat([way(part) for part in latents.split(50)]) for way in (slow, quick))
    spent = {}
    for name, way in (("slow", slow), ("quick", quick)):
        rounds = []
        for _ in range(15):
            started = time.perf_counter()
            way(latents[:50])
            rounds.append(time.perf_counter() - started)
        spent[name] = sorted(rounds)[len(rounds) // 2]
    codes = torch.cat([tiny.encode(part).latents for part in real.split(250)])
    return {
        "mse_to_autoencoder": F.mse_loss(again, shown).item(),
        "test_mse": F.mse_loss(again, real).item(),
        "autoencoder_test_mse": F.mse_loss(shown, real).item(),
        "encoder_mse_to_scaled_latents": F.mse_loss(codes, latents * vae.config.scaling_factor).item(),
        "decode_seconds_of_50": spent["quick"],
        "decode_speed_up": spent["slow"] / spent["quick"],
    }


if __name__ == "__main__":
    main()
