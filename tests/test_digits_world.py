"""The shipped digits world: it loads like any other model, is small, and informing does on it what it says."""

import dataclasses
import statistics

import pytest
import torch
from diffusers import AutoencoderTiny, DiffusionPipeline
from transformers import CLIPModel, CLIPTokenizer

from potstill.bundled import ROOT, models
from potstill.data.digits import digits
from potstill.distilled import Slot
from potstill.evaluation import PROTOCOLS
from potstill.guidance.push import Pace
from potstill.methods import Made
from potstill.methods.guided import Guided
from potstill.methods.terms import ConceptTerm
from potstill.nets.spec import Net
from potstill.nets.store import load_net
from potstill.pipeline import distill_recipe, evaluate_set
from potstill.recipes import RECIPES
from potstill.recipes.digits import VOCABULARY, WITNESS
from potstill.report import page
from potstill.run.witness import Witness


@pytest.fixture(scope="module")
def real():
    return digits()


@pytest.fixture(scope="module")
def witness(real):
    return Witness.prepare(WITNESS, real)


def test_together_the_models_are_under_40_megabytes():
    assert sum(file.stat().st_size for file in ROOT.rglob("*") if file.is_file()) < 40e6


@pytest.mark.parametrize("name", ["digits/dit", "digits/unclip"])
def test_pipelines_load_by_plain_diffusers(name):
    pipe = DiffusionPipeline.from_pretrained(models()[name])
    assert (
        type(pipe).__name__
        == {"digits/dit": "DiTPipeline", "digits/unclip": "StableUnCLIPImg2ImgPipeline"}[name]
    )


@pytest.mark.parametrize("name", ["digits/clip", "digits/referee"])
def test_encoders_load_by_plain_transformers(name):
    model, words = CLIPModel.from_pretrained(models()[name]), CLIPTokenizer.from_pretrained(models()[name])
    assert model.config.text_config.vocab_size == len(words)


def test_the_tiny_decoder_loads_by_plain_diffusers():
    assert AutoencoderTiny.from_pretrained(models()["digits/tiny_decoder"]).config.latent_channels == 4


def test_every_model_has_a_card():
    for name, folder in models().items():
        assert len((folder / "README.md").read_text()) > 400, name


def test_the_teacher_knows_unseen_digits(real):
    teacher = load_net(models()["digits/teacher"])
    assert teacher.classes == real.classes
    with torch.no_grad():
        right = teacher.module(real.test.pixels(None, 32).float() / 255).argmax(1) == real.test.labels
    assert right.float().mean() >= 0.98


def test_the_teacher_looks_at_images_of_another_size(witness, real):
    rows = real.test.of_class(7)[:20].tolist()
    slots = [Slot("7", place) for place in range(len(rows))]
    small, whole = (
        witness.describe(slots, [Made(one, {}) for one in real.test.pixels(rows, size)]) for size in (20, 32)
    )
    sure = [[note["teacher"] for note in notes] for notes in (small, whole)]
    assert sum(sure[0]) / len(rows) > 0.8 and sure[0] != sure[1]


def test_the_autoencoder_keeps_unseen_digits(real):
    from potstill.priors import Prior

    prior = Prior.from_pretrained("digits/dit")
    pixels = real.test.pixels(range(0, 1000, 10), 32).float() / 255
    with torch.no_grad():
        latents = prior.encode(pixels)
        again = prior.decode(latents)
    assert 4 * (again - pixels).square().mean() < 0.01
    assert latents.std() == pytest.approx(1, abs=0.15)


SLOTS = [Slot(str(label), 0) for label in range(10)] + [Slot(str(label), 1) for label in range(6)]


def informed(real, witness, **pace):
    term = ConceptTerm(vocabulary=VOCABULARY, pace=Pace(**pace))
    method = Guided(prior="digits/dit", scale=1.0, terms=(term,), steps=12)
    made = method.prepare(real, seed=0, images_per_class=2, device="cpu").make(SLOTS)
    return statistics.mean(value for note in witness.describe(SLOTS, made) for value in note["scores"])


WEIGHTS = {"noisy": (-0.1, 0.0, 0.1), "clean": (-0.1, 0.0, 0.1, 0.2), "full": (-0.1, 0.0, 0.1, 0.2)}


@pytest.mark.parametrize("look", WEIGHTS)
def test_concept_scores_rise_with_the_weight_and_fall_with_the_wrong_sign(real, witness, look):
    """The noisy look overshoots from 0.2 on, which is why its weights end at 0.1."""
    scores = [informed(real, witness, look=look, weight=weight, normalise=True) for weight in WEIGHTS[look]]
    assert scores == sorted(scores) and scores[-1] - scores[0] > 0.05


@pytest.mark.parametrize("name", ["digits-dit-complete", "digits-unclip-concord"])
def test_the_whole_flow(real, tmp_path, name):
    recipe = RECIPES[name]()
    quick = dataclasses.replace(
        recipe, images_per_class=1, method=dataclasses.replace(recipe.method, steps=8)
    )
    made = distill_recipe(quick, tmp_path / name, real=real)
    assert len(made.records) == 10 and made.verify() == []
    assert all(len(record.details["scores"]) == 5 for record in made.records)
    done = evaluate_set(
        tmp_path / name,
        real,
        protocol=PROTOCOLS["rded@1"],
        student=Net.parse("convnet-3-w8"),
        teacher="digits/teacher",
        seeds=(0, 1),
        epochs=3,
    )
    assert done.protocol == "rded@1*" and len(done.runs) == 2
    written = page(
        [tmp_path / name],
        [*(tmp_path / name / "evaluations").glob("*.json")],
        tmp_path / "p.html",
        title=name,
    )
    assert "handwritten eight" in written.read_text()
    assert "digits" in (tmp_path / name / "README.md").read_text()
