"""The scheduler wrapper informs unmodified diffusers pipelines, and does what our own loop does."""

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DiTPipeline,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    StableUnCLIPImg2ImgPipeline,
    UniPCMultistepScheduler,
)
from PIL import Image
from support import tiny
from torch.nn import functional as F

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.encoders import Encoder
from potstill.guidance import Targets, guided
from potstill.guidance.free import ClassifierFree
from potstill.guidance.push import Pace, Push
from potstill.guidance.scheduler import inform
from potstill.guidance.scores import ConceptScore, contrastive
from potstill.priors import PRIORS, Condition, Prior
from potstill.sampling import Start, sample

STEPS = 6


@pytest.fixture(scope="module")
def encoder(tiny_clip):
    return Encoder.from_pretrained(tiny_clip)


def term(encoder, n, **pace):
    draw = torch.Generator().manual_seed(9)
    texts = [F.normalize(torch.randn(n, count, tiny.PROJECTION, generator=draw), dim=2) for count in (5, 10)]
    targets = Targets(torch.zeros(n, dtype=torch.long), *texts)
    score = ConceptScore(encoder, contrastive, 0.05)
    return Push(score=score, pace=Pace(**{"weight": 0.3, "normalise": True} | pace), targets=targets)


@pytest.mark.parametrize("look", ["noisy", "clean"])
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_dit(tiny_dit, encoder, look, scale):
    pipe = DiTPipeline.from_pretrained(tiny_dit)
    pipe.set_progress_bar_config(disable=True)
    prior = PRIORS["DiTPipeline"](pipe)
    noise = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    push = term(encoder, 3, look=look)
    told = Condition({"class": torch.tensor([3, 1, 9])})
    ours = sample(prior, guided(prior, told, [ClassifierFree(scale), push]), noise, steps=STEPS)
    bare = sample(prior, guided(prior, told, [ClassifierFree(scale)]), noise, steps=STEPS)
    plain = pipe.scheduler
    pipe.scheduler = inform(plain, prior, [push])
    theirs = pipe(
        [3, 1, 9],
        guidance_scale=scale,
        num_inference_steps=STEPS,
        output_type="pt",
        generator=torch.Generator().manual_seed(5),
    ).images
    with torch.no_grad():
        torch.testing.assert_close(prior.decode(ours).clamp(0, 1), theirs, atol=2e-3, rtol=2e-3)
        assert (prior.decode(bare).clamp(0, 1) - theirs).abs().max() > 0.01, "the term has no effect"


@pytest.mark.parametrize("pace", [{"start": 0.5}, {"stop": 0.34}, {"every": 4}])
def test_a_pace_counts_the_pipelines_steps(tiny_dit, encoder, pace):
    pipe = DiTPipeline.from_pretrained(tiny_dit)
    pipe.set_progress_bar_config(disable=True)
    prior, told = PRIORS["DiTPipeline"](pipe), Condition({"class": torch.tensor([3, 1])})
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    push, all_along = term(encoder, 2, **pace), term(encoder, 2)
    ours, other = (sample(prior, guided(prior, told, [one]), noise, steps=STEPS) for one in (push, all_along))
    pipe.scheduler = inform(pipe.scheduler, prior, [push])
    draw = torch.Generator().manual_seed(5)
    asked = {"guidance_scale": 1.0, "num_inference_steps": STEPS, "output_type": "pt"}
    theirs = pipe([3, 1], generator=draw, **asked).images
    with torch.no_grad():
        torch.testing.assert_close(prior.decode(ours).clamp(0, 1), theirs, atol=2e-3, rtol=2e-3)
        assert (prior.decode(other).clamp(0, 1) - theirs).abs().max() > 0.01, "the pace has no effect"


@pytest.mark.parametrize(("kind", "extra"), [(DDIMScheduler, {"eta": 1.0}), (DDPMScheduler, {})])
def test_the_wrapped_scheduler_gets_its_generator_and_eta(tiny_dit, kind, extra, draw):
    prior = Prior.from_pretrained(tiny_dit)
    scheduler = kind.from_config(prior.pipe.scheduler.config)
    raw, x_t = torch.randn(2, 3, 4, 8, 8, generator=draw)
    stepped = []
    for one in (scheduler, inform(scheduler, prior, [])):
        one.set_timesteps(10)
        fresh = torch.Generator().manual_seed(1)
        stepped.append(one.step(raw, one.timesteps[3], x_t, generator=fresh, **extra).prev_sample)
    assert torch.equal(*stepped)


def test_unclip(tiny_unclip, encoder):
    pipe = StableUnCLIPImg2ImgPipeline.from_pretrained(tiny_unclip)
    pipe.set_progress_bar_config(disable=True)
    prior = PRIORS["StableUnCLIPImg2ImgPipeline"](pipe)
    grains = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    pictures, prompts = (
        [Image.fromarray(grain) for grain in grains],
        ["a photo of a cat.", "a photo of a dog."],
    )
    draw = torch.Generator().manual_seed(5)
    told = prior.told(prompts, pictures, torch.randn(2, tiny.PROJECTION, generator=draw))
    noise = torch.randn(2, 4, 8, 8, generator=draw)
    push = term(encoder, 2)
    ours = sample(prior, guided(prior, told, [ClassifierFree(3.0), push]), noise, steps=STEPS)
    pipe.scheduler = inform(pipe.scheduler, prior, [push])
    theirs = pipe(
        pictures,
        prompts,
        guidance_scale=3.0,
        num_inference_steps=STEPS,
        output_type="pt",
        generator=torch.Generator().manual_seed(5),
    ).images
    with torch.no_grad():
        torch.testing.assert_close(prior.decode(ours).clamp(0, 1), theirs, atol=2e-3, rtol=2e-3)


def test_two_images_of_the_same_noise_are_two_images(tiny_unclip, encoder):
    """Equal halves of what Stable unCLIP hands over are no guided DiT's: each has a prediction of its own."""
    pipe = StableUnCLIPImg2ImgPipeline.from_pretrained(tiny_unclip)
    pipe.set_progress_bar_config(disable=True)
    prior = PRIORS["StableUnCLIPImg2ImgPipeline"](pipe)
    grains = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    pictures, prompts = [Image.fromarray(grain) for grain in grains], ["a cat", "a dog"]
    same = [generator(5) for _ in range(4)]
    told = prior.told(
        prompts, pictures, torch.stack([torch.randn(tiny.PROJECTION, generator=one) for one in same[:2]])
    )
    noise = torch.stack([torch.randn(4, 8, 8, generator=one) for one in same[:2]])
    push = term(encoder, 2)
    ours = sample(prior, guided(prior, told, [ClassifierFree(3.0), push]), noise, steps=STEPS)
    pipe.scheduler = inform(pipe.scheduler, prior, [push])
    settings = {"guidance_scale": 3.0, "num_inference_steps": STEPS, "output_type": "pt"}
    theirs = pipe(pictures, prompts, generator=same[2:], **settings).images
    with torch.no_grad():
        torch.testing.assert_close(prior.decode(ours).clamp(0, 1), theirs, atol=2e-3, rtol=2e-3)


def test_another_number_of_images_than_the_terms_aim_at_is_refused(tiny_dit, encoder):
    pipe = DiTPipeline.from_pretrained(tiny_dit)
    pipe.set_progress_bar_config(disable=True)
    plain, prior = pipe.scheduler, PRIORS["DiTPipeline"](pipe)
    for count, scale in ((1, 1.0), (1, 4.0), (3, 4.0)):
        pipe.scheduler = inform(plain, prior, [term(encoder, count)])
        with pytest.raises(PotstillError, match=f"aims at {count} images was given"):
            pipe([3, 1], guidance_scale=scale, num_inference_steps=2, output_type="pt")
    with pytest.raises(PotstillError, match=r"different numbers of images: \[2, 3\]"):
        inform(plain, prior, [term(encoder, 2), term(encoder, 3)])


def test_a_run_that_begins_part_way_is_our_loop_from_a_start(tiny_dit, encoder):
    prior = Prior.from_pretrained(tiny_dit)
    told = Condition({"class": torch.tensor([3, 1])})
    start, noise = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    push = term(encoder, 2, start=0.4, stop=0.8, every=2)
    ours = sample(prior, guided(prior, told, [push]), noise, steps=10, start=Start(start, 0.5))
    scheduler = inform(DDIMScheduler.from_config(prior.pipe.scheduler.config), prior, [push])
    scheduler.set_timesteps(10)
    x = scheduler.add_noise(start, noise, scheduler.timesteps[5:6])
    with torch.no_grad():
        for t in scheduler.timesteps[5:]:
            x = scheduler.step(prior.predict(x, t.expand(2), told)[:, :4], t, x).prev_sample
    torch.testing.assert_close(x, ours, atol=1e-4, rtol=1e-4)


SCHEDULERS = [
    *(DDIMScheduler, DDPMScheduler, PNDMScheduler, DEISMultistepScheduler),
    *(DPMSolverMultistepScheduler, DPMSolverSinglestepScheduler, UniPCMultistepScheduler),
]


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_what_a_term_sees_is_the_clean_latent(tiny_dit, kind):
    seen = []

    class Seeing:
        through_denoiser, runs_denoiser, images = False, False, None

        def bind(self, prior, condition):
            return lambda x_t, moment, x0: seen.append(x0) or x0

    prior = Prior.from_pretrained(tiny_dit)
    wrapped = inform(kind.from_config(prior.pipe.scheduler.config), prior, [Seeing()])
    clean, noise = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    wrapped.set_timesteps(10)
    t = wrapped.timesteps[0]
    wrapped.step(noise, t, wrapped.add_noise(clean, noise, t[None]))
    torch.testing.assert_close(seen[0], clean, atol=5e-3, rtol=1e-3)


@pytest.mark.parametrize(
    "kind",
    [EulerDiscreteScheduler, EulerAncestralDiscreteScheduler, LMSDiscreteScheduler, HeunDiscreteScheduler],
)
def test_a_scheduler_that_adds_sigma_times_the_noise_is_refused(tiny_dit, encoder, kind):
    pipe = DiTPipeline.from_pretrained(tiny_dit)
    scheduler = kind.from_config(pipe.scheduler.config)
    with pytest.raises(PotstillError, match=f"{kind.__name__} noises by .*Allowed: .*DDIM"):
        inform(scheduler, PRIORS["DiTPipeline"](pipe), [term(encoder, 2)])


def test_weight_zero_is_bitwise_the_pipeline(tiny_dit, encoder):
    pipe = DiTPipeline.from_pretrained(tiny_dit)
    pipe.set_progress_bar_config(disable=True)
    images = []
    for wrapped in (False, True):
        if wrapped:
            pipe.scheduler = inform(
                pipe.scheduler, PRIORS["DiTPipeline"](pipe), [term(encoder, 2, weight=0.0)]
            )
        draw = torch.Generator().manual_seed(5)
        images.append(pipe([3, 1], num_inference_steps=4, output_type="pt", generator=draw).images)
    assert torch.equal(*images)


def test_a_second_run_starts_anew(tiny_dit, encoder):
    pipe = DiTPipeline.from_pretrained(tiny_dit)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = inform(pipe.scheduler, PRIORS["DiTPipeline"](pipe), [term(encoder, 2, every=3)])
    images = [
        pipe(
            [3, 1], num_inference_steps=4, output_type="pt", generator=torch.Generator().manual_seed(5)
        ).images
        for _ in range(2)
    ]
    assert torch.equal(*images)


def test_a_term_that_needs_the_denoiser_is_refused(tiny_dit, encoder):
    pipe = DiTPipeline.from_pretrained(tiny_dit)
    for needing in (term(encoder, 2, look="full"), ClassifierFree(2.0)):
        with pytest.raises(
            PotstillError, match="guidance and look 'full' run: use a pipeline's own guidance_scale"
        ):
            inform(pipe.scheduler, PRIORS["DiTPipeline"](pipe), [needing])
