"""The scheduler wrapper informs unmodified diffusers pipelines, and does what our own loop does."""

import numpy as np
import pytest
import torch
from diffusers import DiTPipeline, StableUnCLIPImg2ImgPipeline
from PIL import Image
from support import tiny
from torch.nn import functional as F

from potstill.core.errors import PotstillError
from potstill.encoders import Encoder
from potstill.guidance import Targets, guided
from potstill.guidance.free import ClassifierFree
from potstill.guidance.push import Pace, Push
from potstill.guidance.scheduler import inform
from potstill.guidance.scores import ConceptScore, contrastive
from potstill.priors import PRIORS, Condition
from potstill.sampling import sample

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


def test_a_look_that_needs_the_denoiser_is_refused(tiny_dit, encoder):
    pipe = DiTPipeline.from_pretrained(tiny_dit)
    with pytest.raises(PotstillError, match="look 'full'"):
        inform(pipe.scheduler, PRIORS["DiTPipeline"](pipe), [term(encoder, 2, look="full")])
