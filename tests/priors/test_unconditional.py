"""The latent diffusion model without classes: its published size, diffusers' own loop, a factor that nobody names."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, LDMPipeline, UNet2DModel, VQModel

from potstill.canvas.chain import Chain
from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.costs import cost
from potstill.distilled import Slot
from potstill.guidance import guided
from potstill.methods.guided import Guided
from potstill.priors import Condition, Prior
from potstill.priors.published import faces
from potstill.priors.unconditional import UnconditionalLDM
from potstill.sampling import sample


def saved(folder: Path, factor: float | None) -> str:
    """A tiny pipeline of the published parts; without a factor its configuration is the hub folder's."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DModel(
            sample_size=8,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(32, 64),
            layers_per_block=1,
            in_channels=3,
            out_channels=3,
        )
        vqvae = VQModel(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(32, 32, 32),
            num_vq_embeddings=24,
            scaling_factor=factor or 1.0,
        )
        torch.nn.init.normal_(vqvae.quantize.embedding.weight)
        torch.nn.init.normal_(unet.conv_out.weight, std=0.1)
    noise = DDIMScheduler(
        beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False
    )
    LDMPipeline(vqvae, unet, noise).save_pretrained(folder)
    if factor is None:
        file = folder / "vqvae" / "config.json"
        settings = json.loads(file.read_text())
        del settings["scaling_factor"]
        file.write_text(json.dumps(settings))
    return str(folder)


def test_full_size_is_the_published_one() -> None:
    """274,056,163 are what LD3M's model of faces counts."""
    with torch.device("meta"):
        prior = UnconditionalLDM(faces())
    assert sum(value.numel() for value in prior.unet.parameters()) == 274_056_163
    assert prior.latent_shape == (3, 64, 64) and prior.size == 256


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_our_loop_is_diffusers_own(tmp_path, factor: float) -> None:
    folder = saved(tmp_path, factor)
    pipe = LDMPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    draw = torch.Generator().manual_seed(5)
    theirs = pipe(2, generator=draw, num_inference_steps=6, output_type="np").images
    noise = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    prior = Prior.from_pretrained(folder)
    with torch.no_grad():
        found = prior.decode(sample(prior, guided(prior, Condition({}), []), noise, steps=6)).clamp(0, 1)
    assert isinstance(prior, UnconditionalLDM) and found.std() > 0.01
    torch.testing.assert_close(found.permute(0, 2, 3, 1).numpy(), theirs, atol=2e-4, rtol=2e-4)


def test_a_folder_that_names_no_factor_has_none(tmp_path) -> None:
    prior = Prior.from_pretrained(saved(tmp_path, None))
    pixels = torch.rand(2, 3, 32, 32, generator=generator("pixels"))
    with torch.no_grad():
        latents = prior.encode(pixels)
        assert torch.equal(latents, prior.vae.encode(pixels * 2 - 1).latents)
        torch.testing.assert_close(
            prior.decode(latents), prior.vae.decode(latents).sample / 2 + 0.5, rtol=1e-5, atol=1e-5
        )


def test_a_chain_learns_latents_alone(tmp_path, few) -> None:
    folder, slots = saved(tmp_path, None), [Slot("2", 0), Slot("5", 1)]
    made = Chain(prior=folder, steps=3, scale=1).prepare(few, slots, seed=0, device="cpu")
    assert list(made.learned) == ["latents"]
    (slope,) = torch.autograd.grad(made.images(slice(0, 2)).square().sum(), made.latents)
    assert slope.flatten(1).abs().sum(1).gt(0).all()
    with pytest.raises(PotstillError, match="told no class.*scale=1"):
        Chain(prior=folder, steps=3).prepare(few, slots, seed=0, device="cpu").images(slice(0, 2))


def test_what_it_costs_is_counted_without_weights(tmp_path) -> None:
    folder = saved(tmp_path, None)
    for weights in tmp_path.rglob("*.safetensors"):
        weights.unlink()
    counted = cost(Guided(prior=folder, scale=1, steps=4))
    assert counted.latent == (3, 8, 8) and counted.operations > 0
