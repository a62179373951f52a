"""The unCLIP prior: a UNet told a prompt and a real digit, saved as a StableUnCLIPImg2ImgPipeline."""

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    StableUnCLIPImg2ImgPipeline,
    UNet2DConditionModel,
)
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPImageProcessor, CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from potstill.priors.unclip import TEMPLATES
from worlds.digits.augment import train_pixels
from worlds.digits.autoencoder import BUNDLED
from worlds.digits.captions import bank
from worlds.digits.dit import cached_latents, schedule
from worlds.digits.store import swap_in, write_metrics
from worlds.digits.training import train

STEPS, BATCH, PROJECTION = 4000, 96, 64


def build() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 80),
        attention_head_dim=(2, 4),
        norm_num_groups=16,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=2 * PROJECTION,
        cross_attention_dim=64,
        layers_per_block=1,
        use_linear_projection=True,
    )


def pipeline(unet: torch.nn.Module) -> Any:
    """The pipeline around a UNet: the towers of `clip`, and a normaliser measured on the training digits."""
    source = BUNDLED / "clip"
    processor = CLIPImageProcessor.from_pretrained(source)
    seer = CLIPVisionModelWithProjection.from_pretrained(source).eval().requires_grad_(False)
    seen = embeddings(seer, processor, train_pixels()[0])
    normalizer = StableUnCLIPImageNormalizer(embedding_dim=PROJECTION)
    normalizer.mean.data, normalizer.std.data = seen.mean(0, keepdim=True), seen.std(0, keepdim=True)
    return StableUnCLIPImg2ImgPipeline(
        feature_extractor=processor,
        image_encoder=seer,
        image_normalizer=normalizer.requires_grad_(False),
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=CLIPTokenizer.from_pretrained(source),
        text_encoder=CLIPTextModel.from_pretrained(source).eval().requires_grad_(False),
        unet=unet,
        scheduler=schedule(),
        vae=AutoencoderKL.from_pretrained(BUNDLED / "autoencoder").eval().requires_grad_(False),
    )


@torch.no_grad()
def embeddings(seer: Any, processor: Any, pixels: Tensor) -> Tensor:
    """Image embeddings [n, 64] of pixels in [0, 1], not normalised."""
    mean, std = processor.image_mean[0], processor.image_std[0]
    return torch.cat([seer((part - mean) / std).image_embeds for part in pixels.split(250)])


class Lessons:
    """What the UNet learns from: latents of varied digits, and what each may be told."""

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        pixels, self.labels = train_pixels()
        self.seen = embeddings(pipe.image_encoder, pipe.feature_extractor, pixels)
        self.told = torch.stack([self.read([one.format(name) for one in TEMPLATES]) for name, _ in bank()])
        self.nothing = self.read([""])
        latents, _ = cached_latents(pipe.vae, torch.Generator().manual_seed(2))
        self.latents = latents.reshape(-1, len(pixels), 4, 8, 8)
        self.of_class = torch.stack([(self.labels == digit).nonzero()[:, 0] for digit in range(10)])

    @torch.no_grad()
    def read(self, texts: list[str]) -> Tensor:
        """The text tower's states, padded as the pipeline pads."""
        words = self.pipe.tokenizer
        tokens = words(texts, padding="max_length", max_length=words.model_max_length, return_tensors="pt")
        return self.pipe.text_encoder(input_ids=tokens.input_ids).last_hidden_state

    def image(self, rows: Tensor, draw: torch.Generator) -> Tensor:
        """The noised embedding of each digit or of another of its class, with the noise level's sinusoid."""
        other = self.of_class[
            self.labels[rows], torch.randint(self.of_class.shape[1], (len(rows),), generator=draw)
        ]
        shown = torch.where(torch.rand(len(rows), generator=draw) < 0.5, rows, other)
        level: Any = (torch.rand(len(rows), generator=draw) ** 2 * 200).long()
        grain = torch.randn(len(rows), PROJECTION, generator=draw)
        scaler, noising = self.pipe.image_normalizer, self.pipe.image_noising_scheduler
        embedding = scaler.unscale(noising.add_noise(scaler.scale(self.seen[shown]), grain, level))
        sinusoid = get_timestep_embedding(level, PROJECTION, flip_sin_to_cos=True, downscale_freq_shift=0)
        return torch.cat([embedding, sinusoid], 1)

    def text(self, rows: Tensor, draw: torch.Generator) -> Tensor:
        """The states of one prompt for each digit."""
        return self.told[self.labels[rows], torch.randint(len(TEMPLATES), (len(rows),), generator=draw)]


def main() -> None:
    torch.manual_seed(0)
    model = build()
    pipe = pipeline(model)
    lessons = Lessons(pipe)
    alphas = pipe.scheduler.alphas_cumprod

    def loss(draw: torch.Generator) -> Tensor:
        rows = torch.randint(len(lessons.labels), (BATCH,), generator=draw)
        clean = lessons.latents[torch.randint(len(lessons.latents), (BATCH,), generator=draw), rows]
        image, text = lessons.image(rows, draw), lessons.text(rows, draw)
        dropped = torch.rand(BATCH, generator=draw) < 0.1
        image = torch.where(dropped[:, None], 0.0, image)
        text = torch.where(dropped[:, None, None], lessons.nothing, text)
        t = torch.randint(1000, (BATCH,), generator=draw)
        noise = torch.randn(clean.shape, generator=draw)
        signal, sigma = (value[:, None, None, None] for value in (alphas[t].sqrt(), (1 - alphas[t]).sqrt()))
        noisy = signal * clean + sigma * noise
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            found = model(noisy, t, encoder_hidden_states=text, class_labels=image).sample
        return F.mse_loss(found.float(), signal * noise - sigma * clean)

    averaged, seconds = train("unclip", model, loss, steps=STEPS, rate=1.5e-3, decay=0.999)
    swap_in("unclip", pipeline(averaged).save_pretrained)
    parameters = sum(weight.numel() for weight in averaged.parameters())
    write_metrics("unclip", {"seconds": seconds, "unet_parameters": parameters})


if __name__ == "__main__":
    main()
