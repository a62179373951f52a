"""The published architectures on the meta device: parameters, and the names that their checkpoints' files have."""

import pytest
import torch

from potstill.priors import published
from potstill.priors.dit import DiT
from potstill.priors.stable_diffusion import StableDiffusion
from potstill.priors.unclip import UnCLIP


def parameters(module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@pytest.fixture(scope="module", autouse=True)
def on_meta():
    with torch.device("meta"):
        yield


def test_dit() -> None:
    """The weights' README says 675 million; diffusers copies two embeddings into each of 28 blocks."""
    pipe = published.dit_xl_2()
    names = pipe.transformer.state_dict()
    embeddings = sum(parameters(block.norm1.emb) for block in pipe.transformer.transformer_blocks)
    assert parameters(pipe.transformer) == 749_826_464
    once = parameters(pipe.transformer) - embeddings * 27 // 28
    assert once == 674_834_720 and embeddings // 28 == 1001 * 1152 + 257 * 1152 + 1153 * 1152
    assert names["transformer_blocks.27.norm1.emb.class_embedder.embedding_table.weight"].shape == (
        1001,
        1152,
    )
    assert names["transformer_blocks.0.norm1.linear.weight"].shape == (6 * 1152, 1152)
    assert names["pos_embed.proj.weight"].shape == (1152, 4, 2, 2)
    assert names["proj_out_2.weight"].shape == (32, 1152) and "proj_out_1.bias" in names
    prior = DiT(pipe)
    assert prior.latent_shape == (4, 32, 32) and prior.size == 256 and prior.learned_variance


def test_unclip() -> None:
    pipe = published.unclip_768()
    assert parameters(pipe.unet) == 870_173_124
    assert parameters(pipe.image_encoder) == 632_076_800
    assert parameters(pipe.text_encoder) == 340_387_840
    names = pipe.unet.state_dict()
    assert names["class_embedding.linear_1.weight"].shape == (1280, 2048)
    first = "down_blocks.0.attentions.0"
    assert names[f"{first}.transformer_blocks.0.attn2.to_k.weight"].shape == (320, 1024)
    assert names[f"{first}.proj_in.weight"].shape == (320, 320), "a linear projection, not a convolution"
    assert "visual_projection.weight" in pipe.image_encoder.state_dict()
    prior = UnCLIP(pipe)
    assert prior.latent_shape == (4, 96, 96) and prior.size == 768 and not prior.learned_variance


def test_stable_diffusion() -> None:
    pipe = published.stable_diffusion_1_5()
    assert parameters(pipe.unet) == 859_520_964
    assert parameters(pipe.text_encoder) == 123_060_480
    names = pipe.unet.state_dict()
    assert len(names) == 686
    assert names["down_blocks.0.attentions.0.proj_in.weight"].shape == (320, 320, 1, 1)
    assert names["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"].shape == (1280, 768)
    prior = StableDiffusion(pipe)
    assert prior.latent_shape == (4, 64, 64) and prior.size == 512


def test_autoencoders_and_clip() -> None:
    vae = published.autoencoder(256)
    assert parameters(vae) == 83_653_863 and parameters(vae.decoder) + 20 == 49_490_199
    assert vae.state_dict()["decoder.mid_block.attentions.0.to_q.weight"].shape == (512, 512)
    assert parameters(published.clip_vit_l_14()) == 427_616_513
    tiny = published.tiny_autoencoder()
    assert parameters(tiny.decoder) == 1_222_531 and parameters(tiny.encoder) == 1_222_532
