"""The class-conditional latent diffusion model: its published size, its loop, its quantiser, its learned conditions."""

import copy
import json
from pathlib import Path

import pytest
import torch

from potstill.canvas.chain import Chain, chained
from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.guidance import Targets, guided
from potstill.guidance.free import ClassifierFree
from potstill.guidance.push import Pace, Push
from potstill.priors import Condition, Prior, Request
from potstill.priors.ldm import LDM, ClassLDMPipeline, Layout
from potstill.sampling import sample

TINY = Layout(
    classes=("cat", "dog", "eel"),
    context=16,
    size=8,
    widths=(32, 64, 96),
    stage_widths=(32, 64, 64),
    codes=24,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipe = TINY.build()
        torch.nn.init.normal_(pipe.vae.quantize.embedding.weight)
    place = tmp_path_factory.mktemp("ldm")
    pipe.save_pretrained(place)
    return str(place)


@pytest.fixture
def prior(folder):
    return LDM(ClassLDMPipeline.from_pretrained(folder))


def requests(*keys):
    return [Request(key, key, generator(0), None, ()) for key in keys]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator("normal", seed))


def parameters(module):
    return sum(value.numel() for value in module.parameters())


def test_full_size_is_the_published_one():
    with torch.device("meta"):
        pipe = Layout().build()
    assert parameters(pipe.unet) == 400_920_579
    assert parameters(pipe.vae.encoder) == 22_337_411
    assert parameters(pipe.vae.decoder) == 32_960_771
    assert pipe.vae.quantize.embedding.weight.shape == (8192, 3)
    assert pipe.embedder.embedding.weight.shape == (1001, 512)
    blocks = {name: part for name, part in pipe.unet.named_modules() if name.endswith(("attn1", "attn2"))}
    assert {part.heads for part in blocks.values()} == {1}
    assert {part.inner_dim for part in blocks.values()} == {384, 576, 960}
    assert len(blocks) == 2 * (3 * 2 + 1 + 3 * 3)
    prior = LDM(pipe)
    assert prior.latent_shape == (3, 64, 64) and prior.size == 256
    assert prior.class_row("n02096294") == 193


def test_the_schedule_is_that_of_the_source(prior):
    schedule = prior.schedule(10)
    assert schedule.timesteps.tolist() == list(range(901, 0, -100))
    published = [0.99699, 0.82115, 0.61244, 0.40522, 0.23298, 0.11400, 0.04650, 0.01548, 0.00412, 0.00086]
    found = [prior.alpha_bar(torch.tensor(t)) for t in range(1, 1000, 100)]
    assert found == pytest.approx(published, abs=6e-6)
    assert float(schedule.final_alpha_cumprod) == pytest.approx(0.9985, abs=1e-6)


def test_a_folder_opens_as_this_prior(folder):
    index = json.loads((Path(folder) / "model_index.json").read_text())
    assert index["embedder"] == ["potstill.priors.ldm", "ClassEmbedder"]
    prior = Prior.from_pretrained(folder)
    assert isinstance(prior, LDM) and prior.class_row("eel") == 2
    for name, value in ClassLDMPipeline.from_pretrained(folder).unet.state_dict().items():
        assert torch.equal(value, prior.unet.state_dict()[name])


def hand_written(unet, told, nothing, x, steps, scale):
    """The sampler of the source, in float64: noise predictions, guided in noise space, to x_0 and back."""
    betas = torch.linspace(0.0015**0.5, 0.0195**0.5, 1000, dtype=torch.float64) ** 2
    signal = (1 - betas).cumprod(0)
    moments = [1 + place * (1000 // steps) for place in range(steps)]
    for place in reversed(range(steps)):
        t = torch.full((len(x),), moments[place])
        without, within = (unet(x, t, encoder_hidden_states=one).sample for one in (nothing, told))
        noise = without + scale * (within - without)
        now, then = signal[moments[place]], signal[moments[place - 1]] if place else signal[0]
        x = then.sqrt() * (x - (1 - now).sqrt() * noise) / now.sqrt() + (1 - then).sqrt() * noise
    return x


def test_our_loop_at_weight_0_is_plain_ddim(prior):
    with torch.no_grad():
        prior.embedder.embedding.weight.mul_(5)
    condition = prior.condition(requests("dog", "cat", "eel"))
    noise = normal(3, 3, 8, 8)
    push = Push(
        score=lambda pixels, seen: pixels.flatten(1).sum(1),
        pace=Pace(weight=0),
        targets=Targets(torch.zeros(3, dtype=torch.long)),
    )
    found = sample(prior, guided(prior, condition, [ClassifierFree(3.0), push]), noise, steps=5)
    table = prior.embedder.embedding.weight.double()
    told, nothing = table[[1, 0, 2]][:, None], table[[3, 3, 3]][:, None]
    with torch.no_grad():
        unet = copy.deepcopy(prior.unet).double()
        slow = hand_written(unet, told, nothing, noise.double(), 5, 3.0)
        unguided = hand_written(unet, told, nothing, noise.double(), 5, 1.0)
    torch.testing.assert_close(found.double(), slow, rtol=1e-4, atol=1e-4)
    assert (slow - unguided).abs().max() > 0.01, "guidance did nothing"


def test_a_condition_is_the_class_row_and_nothing_is_the_last(prior):
    table = prior.embedder.embedding.weight
    condition = prior.condition(requests("eel", "cat"))
    assert torch.equal(condition.values["class"], torch.stack([table[2:3], table[0:1]]))
    null = prior.null_condition(condition)
    assert torch.equal(null.values["class"], table[3].expand(2, 1, 16))
    with pytest.raises(PotstillError, match="does not know class 'moth'.*cat, dog, eel"):
        prior.condition(requests("moth"))


def test_learned_conditions_have_the_slope_of_finite_differences(prior):
    prior.unet.double()
    start = prior.condition(requests("dog", "cat")).values["class"].double()
    noisy, weights, way = (
        normal(2, 3, 8, 8, seed=1).double(),
        normal(2, 3, 8, 8, seed=2),
        normal(2, 1, 16, seed=3),
    )

    def height(context):
        raw = prior.predict(noisy, torch.tensor([301, 301]), Condition({"class": context}))
        return (raw * weights).sum()

    learned = start.clone().requires_grad_()
    (slope,) = torch.autograd.grad(height(learned), learned)
    rise = (height(start + 1e-5 * way) - height(start - 1e-5 * way)) / 2e-5
    assert rise.abs() > 1e-3
    torch.testing.assert_close((slope * way).sum(), rise, rtol=1e-6, atol=0)
    learned = start.float().requires_grad_()
    clean = prior.denoise(noisy.float(), torch.tensor(301), Condition({"class": learned}))
    (slope,) = torch.autograd.grad(clean.sum(), learned)
    assert slope.flatten(1).abs().sum(1).gt(0).all()


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_quantising_finds_the_nearest_code_and_lets_the_gradient_through(prior, scale):
    prior.vae.register_to_config(scaling_factor=scale)
    codes = prior.vae.quantize.embedding.weight * scale
    latents = normal(3, 3, 5, 7).requires_grad_()
    found = prior.quantise(latents)
    plain = latents.detach().double()
    for image, row, column in torch.cartesian_prod(torch.arange(3), torch.arange(5), torch.arange(7)):
        place = plain[image, :, row, column]
        nearest = min(codes, key=lambda code: float((code.double() - place).square().sum()))
        assert torch.equal(found[image, :, row, column], nearest)
    weights = normal(3, 3, 5, 7, seed=1)
    (slope,) = torch.autograd.grad((found * weights).sum(), latents)
    assert torch.equal(slope, weights)
    assert torch.equal(prior.quantise(latents[1:2]), found[1:2])
    assert torch.equal(prior.quantise(found), found)


def test_a_continuous_prior_quantises_nothing(tiny_dit):
    latents = normal(2, 4, 8, 8)
    assert torch.equal(Prior.from_pretrained(tiny_dit).quantise(latents), latents)


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("side", [8, 4, 12])
def test_the_first_stage_is_diffusers_own_at_every_size(prior, scale, side):
    prior.vae.register_to_config(scaling_factor=scale)
    pixels = torch.rand(2, 3, 4 * side, 4 * side, generator=generator("pixels"))
    with torch.no_grad():
        latents = prior.encode(pixels)
        theirs = prior.vae.encode(pixels * 2 - 1).latents
        assert latents.shape == (2, 3, side, side)
        torch.testing.assert_close(latents, theirs * scale, rtol=0, atol=0)
        decoded = prior.decode(latents)
        torch.testing.assert_close(decoded, prior.vae.decode(theirs).sample / 2 + 0.5, rtol=1e-5, atol=1e-5)
        raw = prior.vae.decode(theirs, force_not_quantize=True).sample / 2 + 0.5
    assert decoded.shape == pixels.shape and (decoded - raw).abs().max() > 1e-3


@pytest.mark.parametrize("side", [4, 6, 16])
def test_other_latent_sizes_are_denoised(prior, side):
    condition, noisy = prior.condition(requests("cat")), normal(1, 3, side, side)
    with torch.no_grad():
        raw = prior.predict(noisy, torch.tensor([1]), condition)
        clean = prior.denoise(noisy, torch.tensor(1), condition)
    share = prior.alpha_bar(torch.tensor(1))
    torch.testing.assert_close(clean * share**0.5 + raw * (1 - share) ** 0.5, noisy, rtol=1e-4, atol=1e-4)


def test_the_gradient_of_pixels_reaches_latents_through_the_codes(prior):
    latents = normal(2, 3, 8, 8).requires_grad_()
    (slope,) = torch.autograd.grad(prior.decode(latents).square().sum(), latents)
    codes = prior.quantise(latents).detach().requires_grad_()
    unquantised = prior.vae.decode(codes, force_not_quantize=True).sample / 2 + 0.5
    (expected,) = torch.autograd.grad(unquantised.square().sum(), codes)
    torch.testing.assert_close(slope, expected, rtol=1e-5, atol=1e-6)


def test_a_chain_mixes_in_the_quantised_latents(prior):
    """With a silent network the residual alone is left: sqrt(alpha_bar_0) times the nearest codes."""
    prior.predict = lambda x_t, t, condition: torch.zeros_like(x_t)
    z, told = normal(2, 3, 8, 8).requires_grad_(), prior.condition(requests("dog", "cat"))
    found = chained(prior, z, told, normal(2, 3, 8, 8, seed=1), Chain(prior="", steps=4))
    gain = prior.alpha_bar(torch.tensor(0)) ** 0.5
    torch.testing.assert_close(found, gain * prior.quantise(z), rtol=1e-5, atol=1e-5)
    assert (prior.quantise(z) - z).abs().max() > 0.1, "the codes are far from the latents"
    (slope,) = torch.autograd.grad(found.sum(), z)
    torch.testing.assert_close(slope, torch.full_like(z, gain), rtol=1e-5, atol=1e-5)
