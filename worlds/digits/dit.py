"""The class-conditional diffusion transformer in the autoencoder's latent space, saved as a DiTPipeline."""

import copy
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from potstill.core.files import read_json, write_json
from worlds.digits.augment import train_pixels, vary
from worlds.digits.autoencoder import BUNDLED
from worlds.digits.captions import bank
from worlds.digits.store import swap_in, write_metrics
from worlds.digits.training import train

STEPS, BATCH, VARIATIONS, NULL = 4500, 96, 20, 1000


def build() -> DiTTransformer2DModel:
    """Width 128, 6 blocks, 64 tokens; diffusers' pipeline expects the null class in row 1,000."""
    model = DiTTransformer2DModel(
        sample_size=8,
        num_layers=6,
        patch_size=1,
        attention_head_dim=32,
        num_attention_heads=4,
        in_channels=4,
        out_channels=4,
        num_embeds_ada_norm=NULL,
    )
    first = model.transformer_blocks[0].norm1.emb
    for block in model.transformer_blocks:
        block.norm1.emb = first
        torch.nn.init.zeros_(block.norm1.linear.weight)
        torch.nn.init.zeros_(block.norm1.linear.bias)
    first.class_embedder.dropout_prob = 0.0
    return model


def cached_latents(vae: AutoencoderKL, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Scaled latents of varied training digits, each digit `VARIATIONS` times, and their labels."""
    pixels, labels = train_pixels()
    latents = []
    with torch.no_grad():
        for _ in range(VARIATIONS):
            for part in pixels.split(500):
                posterior = vae.encode(vary(part, draw) * 2 - 1).latent_dist
                noise = torch.randn(posterior.mean.shape, generator=draw)
                latents.append(posterior.mean + posterior.std * noise)
    return torch.cat(latents) * vae.config.scaling_factor, labels.repeat(VARIATIONS)


def schedule() -> DDIMScheduler:
    """DiT's noise, told by velocity, for latents that must not be clipped."""
    return DDIMScheduler(
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        clip_sample=False,
        prediction_type="v_prediction",
    )


def save(folder: Path, transformer: torch.nn.Module, vae: AutoencoderKL) -> None:
    """Saves the pipeline, its shared embedder copied into every block."""
    for block in transformer.transformer_blocks:
        block.norm1.emb = copy.deepcopy(block.norm1.emb)
    labels = {str(place): name for place, (name, _) in enumerate(bank())}
    DiTPipeline(transformer, vae, schedule()).save_pretrained(folder)
    index = folder / "model_index.json"
    write_json(index, read_json(index) | {"id2label": labels})


def autoencoder() -> AutoencoderKL:
    """The bundled one, frozen."""
    return AutoencoderKL.from_pretrained(BUNDLED / "autoencoder").eval().requires_grad_(False)


def fit(name: str, latents: Tensor, labels: Tensor, steps: int) -> tuple[torch.nn.Module, float]:
    """A transformer trained on scaled latents [n, 4, 8, 8] of ten classes, and the seconds that it took."""
    torch.manual_seed(0)
    alphas = schedule().alphas_cumprod
    model = build()

    def loss(draw: torch.Generator) -> Tensor:
        rows = torch.randint(len(latents), (BATCH,), generator=draw)
        clean, told = latents[rows], labels[rows]
        t = torch.randint(1000, (BATCH,), generator=draw)
        noise = torch.randn(clean.shape, generator=draw)
        signal, sigma = (value[:, None, None, None] for value in (alphas[t].sqrt(), (1 - alphas[t]).sqrt()))
        told = torch.where(torch.rand(BATCH, generator=draw) < 0.1, NULL, told)
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            found = model(signal * clean + sigma * noise, timestep=t, class_labels=told).sample
        return (found.float() - (signal * noise - sigma * clean)).square().mean()

    return train(name, model, loss, steps=steps, rate=1.5e-3, decay=0.999)


def main() -> None:
    vae = autoencoder()
    latents, labels = cached_latents(vae, torch.Generator().manual_seed(0))
    averaged, seconds = fit("dit", latents, labels, STEPS)
    swap_in("dit", lambda folder: save(folder, averaged, vae))
    parameters = sum(weight.numel() for weight in averaged.parameters())
    write_metrics("dit", {"seconds": seconds, "transformer_parameters": parameters})


if __name__ == "__main__":
    main()
