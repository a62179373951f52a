"""The published architectures by their configurations, without weights: for counting and for timing.

Source: the checkpoints' own config.json, as facts: facebook/DiT-XL-2-256, stabilityai/stable-diffusion-2-1-unclip (the
768 px model with ViT-H/14, as radames' img2img layout has it), Stable Diffusion 1.5, CompVis/ldm-celebahq-256,
openai/clip-vit-large-patch14 and madebyollin/taesd. Values are what each class draws; build inside
`torch.device("meta")` to have none.
"""

from typing import Any

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.deprecated.latent_diffusion_uncond.pipeline_latent_diffusion_uncond import (
    LDMPipeline,
)
from diffusers.pipelines.dit.pipeline_dit import DiTPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_unclip_img2img import StableUnCLIPImg2ImgPipeline
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPVisionConfig
from transformers import CLIPVisionModelWithProjection as CLIPVision


def dit_xl_2() -> Any:
    """DiT-XL/2 at 256 px: 674.8 million parameters, 749.8 as diffusers copies embeddings into every block."""
    transformer = DiTTransformer2DModel(
        num_attention_heads=16,
        attention_head_dim=72,
        in_channels=4,
        out_channels=8,
        num_layers=28,
        sample_size=32,
        patch_size=2,
        num_embeds_ada_norm=1000,
    )
    scheduler = DDIMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear", clip_sample=False)
    return _put(DiTPipeline, transformer=transformer, vae=autoencoder(256), scheduler=scheduler)


def unclip_768() -> Any:
    """Stable unCLIP of Stable Diffusion 2.1 at 768 px, with CLIP ViT-H/14 for images."""
    unet = _unet(
        sample_size=96,
        attention_head_dim=(5, 10, 20, 20),
        cross_attention_dim=1024,
        use_linear_projection=True,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=2048,
    )
    vision = CLIPVisionConfig(
        hidden_size=1280,
        intermediate_size=5120,
        num_hidden_layers=32,
        num_attention_heads=16,
        patch_size=14,
        projection_dim=1024,
        hidden_act="gelu",
    )
    text = CLIPTextConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=23,
        num_attention_heads=16,
        projection_dim=512,
        hidden_act="gelu",
    )
    return _put(
        StableUnCLIPImg2ImgPipeline,
        feature_extractor=None,
        image_encoder=CLIPVision(vision),
        image_normalizer=StableUnCLIPImageNormalizer(embedding_dim=1024),
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=None,
        text_encoder=CLIPTextModel(text),
        unet=unet,
        scheduler=_scaled_linear("v_prediction"),
        vae=autoencoder(768),
    )


def stable_diffusion_1_5() -> Any:
    """Stable Diffusion 1.5 at 512 px."""
    unet = _unet(
        sample_size=64,
        attention_head_dim=8,
        cross_attention_dim=768,
    )
    text = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12
    )
    return _put(
        StableDiffusionPipeline,
        vae=autoencoder(512),
        text_encoder=CLIPTextModel(text),
        tokenizer=None,
        unet=unet,
        scheduler=_scaled_linear("epsilon"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def faces() -> Any:
    """The latent diffusion model of faces at 256 px, which knows no classes."""
    unet = _put(
        UNet2DModel,
        sample_size=64,
        in_channels=3,
        out_channels=3,
        down_block_types=("DownBlock2D",) + ("AttnDownBlock2D",) * 3,
        up_block_types=("AttnUpBlock2D",) * 3 + ("UpBlock2D",),
        block_out_channels=(224, 448, 672, 896),
        attention_head_dim=32,
    )
    vqvae = _put(
        VQModel,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(128, 256, 512),
        layers_per_block=2,
        sample_size=256,
        num_vq_embeddings=8192,
    )
    scheduler = DDIMScheduler(
        beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False
    )
    return _put(LDMPipeline, vqvae=vqvae, unet=unet, scheduler=scheduler)


def autoencoder(size: int) -> AutoencoderKL:
    """Stable Diffusion's autoencoder: 8 pixels a latent, 83.65 million parameters."""
    return _put(
        AutoencoderKL,
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        sample_size=size,
        scaling_factor=0.18215,
    )


def tiny_autoencoder() -> AutoencoderTiny:
    """TAESD, whose defaults are its configuration."""
    return AutoencoderTiny()


def clip_vit_l_14() -> CLIPModel:
    """CLIP ViT-L/14 at 224 px."""
    vision = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 14,
        "projection_dim": 768,
    }
    text = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "projection_dim": 768,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=768))


def _unet(**settings: Any) -> UNet2DConditionModel:
    return _put(
        UNet2DConditionModel,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        block_out_channels=(320, 640, 1280, 1280),
        **settings,
    )


def _scaled_linear(prediction: str) -> DDIMScheduler:
    return _put(
        DDIMScheduler,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
        set_alpha_to_one=False,
        steps_offset=1,
        clip_sample=False,
    )


def _put(kind: Any, **parts: Any) -> Any:
    """Diffusers annotates single values where it takes tuples, and enums where it takes schedulers."""
    return kind(**parts)
