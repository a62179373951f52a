"""With no term and weight 0 our loop is the diffusers pipeline's, on pipelines saved and loaded as folders."""

import numpy as np
import pytest
import torch
from diffusers import DiTPipeline, StableDiffusionPipeline, StableUnCLIPImg2ImgPipeline
from PIL import Image
from support import tiny

from potstill.core.errors import PotstillError
from potstill.data.real import Classes, RealData, tensor_split
from potstill.guidance import Targets, guided
from potstill.guidance.free import ClassifierFree
from potstill.guidance.push import Pace, Push
from potstill.priors import Condition, Prior, Request
from potstill.sampling import sample

TOLERANCE = {"atol": 2e-4, "rtol": 2e-4}


def still(n):
    return Push(
        score=lambda pixels, seen: pixels.flatten(1).sum(1),
        pace=Pace(weight=0),
        targets=Targets(torch.zeros(n, dtype=torch.long)),
    )


def ours(prior, condition, noise, scale, steps):
    terms = [ClassifierFree(scale), still(len(noise))]
    latents = sample(prior, guided(prior, condition, terms), noise, steps=steps)
    return prior.decode(latents).clamp(0, 1)


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize(("prediction", "channels"), [("epsilon", 8), ("v_prediction", 4), ("sample", 4)])
def test_dit(tmp_path, scale, prediction, channels):
    folder = tiny.save_dit(tmp_path, prediction, channels)
    pipe = DiTPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    labels = [3, 1, 9]
    theirs = pipe(
        labels,
        guidance_scale=scale,
        generator=torch.Generator().manual_seed(5),
        num_inference_steps=8,
        output_type="pt",
    ).images
    noise = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    condition = Condition({"class": torch.tensor(labels)})
    with torch.no_grad():
        found = ours(Prior.from_pretrained(folder), condition, noise, scale, 8)
    assert found.std() > 0.01
    torch.testing.assert_close(found, theirs, **TOLERANCE)


@pytest.mark.parametrize("scale", [1.0, 7.5])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_stable_diffusion(tmp_path, scale, prediction):
    folder = tiny.save_stable_diffusion(tmp_path, prediction)
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    theirs = pipe(
        ["tench, Tinca tinca", "goldfish"],
        guidance_scale=scale,
        latents=noise,
        num_inference_steps=8,
        output_type="pt",
    ).images
    prior = Prior.from_pretrained(folder)
    empty = tensor_split(
        torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64), "none"
    )
    asked = [
        Request(key, name, torch.Generator(), empty, [0])
        for key, name in (("n01440764", "tench, Tinca tinca"), ("n01443537", "goldfish"))
    ]
    with torch.no_grad():
        found = ours(prior, prior.condition(asked), noise, scale, 8)
    torch.testing.assert_close(found, theirs, **TOLERANCE)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_unclip(tiny_unclip, scale):
    pipe = StableUnCLIPImg2ImgPipeline.from_pretrained(tiny_unclip)
    pipe.set_progress_bar_config(disable=True)
    grains = np.random.default_rng(0).integers(0, 256, (2, 48, 40, 3), dtype=np.uint8)
    pictures, prompts = (
        [Image.fromarray(grain) for grain in grains],
        ["a photo of a cat.", "a photo of a dog."],
    )
    theirs = pipe(
        pictures,
        prompts,
        guidance_scale=scale,
        num_inference_steps=6,
        output_type="pt",
        generator=torch.Generator().manual_seed(5),
    ).images
    draw = torch.Generator().manual_seed(5)
    embedding_noise = torch.randn(2, tiny.PROJECTION, generator=draw)
    noise = torch.randn(2, 4, 8, 8, generator=draw)
    prior = Prior.from_pretrained(tiny_unclip)
    with torch.no_grad():
        found = ours(prior, prior.told(prompts, pictures, embedding_noise), noise, scale, 6)
    assert found.std() > 0.01
    torch.testing.assert_close(found, theirs, **TOLERANCE)


@pytest.fixture(params=["dit", "unclip", "stable_diffusion"])
def prior(request):
    return Prior.from_pretrained(request.getfixturevalue(f"tiny_{request.param}"))


@pytest.fixture
def real(draw):
    images = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8, generator=draw)
    labels = torch.arange(20) % 2
    split = tensor_split(images, labels, "train")
    classes = Classes(("4", "7"), ("handwritten four", "handwritten seven"))
    return RealData("grains", classes, split, split, 32, False)


def requests(real, labels, seed=0):
    return [
        Request(
            real.classes.keys[label],
            real.classes.names[label],
            torch.Generator().manual_seed(seed + place),
            real.train,
            real.train.of_class(label).tolist(),
        )
        for place, label in enumerate(labels)
    ]


def test_contract_of_every_prior(prior, real, draw):
    labels = [0, 1, 1, 0, 1]
    condition = prior.condition(requests(real, labels))
    null = prior.null_condition(condition)
    assert condition.names() == null.names()
    for one, other in zip(condition.tensors(), null.tensors(), strict=True):
        assert one.shape == other.shape and len(one) == 5
    noise = torch.randn(5, *prior.latent_shape, generator=draw, requires_grad=True)
    x0 = prior.denoise(noise, torch.tensor(500), condition)
    assert x0.shape == noise.shape and x0.dtype == torch.float32
    pixels = prior.decode(x0)
    assert pixels.shape == (5, 3, prior.size, prior.size)
    (gradient,) = torch.autograd.grad(pixels.sum(), noise)
    assert gradient.flatten(1).abs().sum(1).gt(0).all()
    encoded = prior.encode(torch.rand(2, 3, prior.size, prior.size))
    assert encoded.shape == (2, *prior.latent_shape)


def test_an_images_condition_is_its_own(prior, real):
    whole = prior.condition(requests(real, [0, 1, 1, 0]))
    alone = prior.condition(requests(real, [1], seed=2))
    for one, other in zip(whole.tensors(), alone.tensors(), strict=True):
        assert torch.equal(one[2:3], other)


def test_unclip_is_told_a_class_name_up_to_its_first_comma(tiny_unclip, real):
    prior = Prior.from_pretrained(tiny_unclip)
    texts = []
    for name in ("tench, Tinca tinca", "tench", "tench Tinca tinca"):
        request = Request("4", name, torch.Generator().manual_seed(0), real.train, [0])
        texts.append(prior.condition([request]).values["text"])
    assert torch.equal(texts[0], texts[1]) and not torch.equal(texts[0], texts[2])


def test_a_dit_knows_imagenet_by_wordnet_id(tiny_dit):
    prior = Prior.from_pretrained(tiny_dit)
    prior.labels = {}
    assert prior.class_row("n02096294", "Australian terrier") == 193
    assert prior.class_row("n02012849", "crane bird") == 134


def test_an_unknown_class_is_named(tiny_dit):
    with pytest.raises(PotstillError, match="does not know class 'moth'.*digit 0"):
        Prior.from_pretrained(tiny_dit).class_row("moth", "a moth")


def test_a_wrong_place_is_named(tmp_path, tiny_clip):
    with pytest.raises(PotstillError, match="unknown model 'nowhere'"):
        Prior.from_pretrained("nowhere")
    with pytest.raises(PotstillError, match=str(tmp_path)):
        Prior.from_pretrained(str(tmp_path))
