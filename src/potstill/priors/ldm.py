"""The class-conditional latent diffusion model over a quantised latent space, and the folder it is kept in."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn

from potstill.core.errors import PotstillError
from potstill.data.classes import imagenet
from potstill.priors.prior import Condition, Request
from potstill.priors.quantised import QuantisedPrior


class ClassEmbedder(ModelMixin, ConfigMixin):
    """One learned row for each of the `classes`, given by key in order, and a last one for no class at all."""

    @register_to_config
    def __init__(self, classes: Sequence[str], width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(classes) + 1, width)


class ClassLDMPipeline(DiffusionPipeline):
    """The parts of a class-conditional latent diffusion model, as one diffusers folder.

    `ClassLDMPipeline.from_pretrained(folder)` loads it without remote code. It draws no images itself:
    `potstill.priors.ldm.LDM` makes a prior of it.
    """

    def __init__(
        self, vae: VQModel, unet: UNet2DConditionModel, embedder: ClassEmbedder, scheduler: DDIMScheduler
    ) -> None:
        super().__init__()
        self.register_modules(vae=vae, unet=unet, embedder=embedder, scheduler=scheduler)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The sizes of a class-conditional latent diffusion model; the defaults are those of cin256-v2.

    Source: Rombach et al. 2022 (arXiv:2112.10752), class-conditional ImageNet at 256 px (f = 4, VQ), by the
    authors' configuration. `classes` are keys; `context` is the length of an embedding row; latents are
    [channels, size, size]; `widths` are the UNet's channels by level, all levels but the first with attention of
    one head; `stage_widths` are the autoencoder's, which halves the image between them; its codebook has `codes`
    entries. Widths are multiples of 32.
    """

    classes: tuple[str, ...] = field(default_factory=lambda: imagenet().keys)
    context: int = 512
    size: int = 64
    widths: tuple[int, ...] = (192, 384, 576, 960)
    stage_widths: tuple[int, ...] = (128, 256, 512)
    channels: int = 3
    codes: int = 8192

    def build(self) -> ClassLDMPipeline:
        """The model with random weights.

        Its schedule is the source's: 1000 steps, square roots of beta from 0.0015 to 0.0195 in equal steps, and
        sampling steps that start at 1, so that 10 of them are 901, 801, ..., 1. Departs: the authors' sampler takes
        more steps than asked for where their number does not divide 1000.
        """
        levels, stages = len(self.widths) - 1, len(self.stage_widths)
        unet = UNet2DConditionModel(
            sample_size=self.size,
            in_channels=self.channels,
            out_channels=self.channels,
            down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * levels),
            up_block_types=(*["CrossAttnUpBlock2D"] * levels, "UpBlock2D"),
            block_out_channels=self.widths,
            attention_head_dim=1,  # diffusers' word for the number of heads
            cross_attention_dim=self.context,
        )
        vae = VQModel(
            down_block_types=("DownEncoderBlock2D",) * stages,
            up_block_types=("UpDecoderBlock2D",) * stages,
            block_out_channels=self.stage_widths,
            layers_per_block=2,
            latent_channels=self.channels,
            sample_size=self.size * 2 ** (stages - 1),
            num_vq_embeddings=self.codes,
            scaling_factor=1.0,
        )
        scheduler = DDIMScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.0015,
            beta_end=0.0195,
            steps_offset=1,
            set_alpha_to_one=False,
            clip_sample=False,
        )
        return ClassLDMPipeline(vae, unet, ClassEmbedder(self.classes, self.context), scheduler)


class LDM(QuantisedPrior):
    """A latent diffusion model told a class by cross-attention to its one embedding row.

    Source: Rombach et al. 2022 (arXiv:2112.10752), the class-conditional ImageNet model that LD3M distils with.
    The condition is the rows themselves, so that learned ones can stand in their place. Other sizes than the trained
    one may be encoded, denoised and decoded.
    """

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe)
        self.embedder = pipe.embedder.eval().requires_grad_(False)

    @staticmethod
    def pipeline() -> type[DiffusionPipeline]:
        """Our own pipeline class."""
        return ClassLDMPipeline

    def predict(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The network's raw output; the gradient reaches the noisy latents and the condition."""
        context = condition.values["class"].to(self.unet.dtype)
        return self.unet(x_t.to(self.unet.dtype), t, encoder_hidden_states=context).sample

    def blank(self, count: int) -> Condition:
        """Embedding rows of 0."""
        width = self.embedder.embedding.weight.shape[1]
        return Condition({"class": torch.zeros(count, 1, width, device=self.device)})

    def condition(self, requests: Sequence[Request]) -> Condition:
        """The classes' embedding rows, float32 [n, 1, width]; raises PotstillError for an unknown class."""
        rows = [self.class_row(request.key) for request in requests]
        return Condition({"class": self.embedder.embedding.weight[rows, None].float()})

    def null_condition(self, condition: Condition) -> Condition:
        """The last row, that of no class, for every image."""
        null = self.embedder.embedding.weight[-1].float()
        return Condition({"class": null.expand_as(condition.values["class"])})

    def class_row(self, key: str) -> int:
        """A class's row in the embedding; raises PotstillError for a class that the prior does not know."""
        keys = list(self.embedder.config.classes)
        if key not in keys:
            raise PotstillError(f"this prior does not know class {key!r}. It knows: {', '.join(keys[:20])}")
        return keys.index(key)
