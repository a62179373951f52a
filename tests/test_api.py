"""The Python API: every public name is there, and stays what it is after its module was imported."""

import dataclasses
import importlib
import re
from pathlib import Path

import pytest
import torch

import potstill
from potstill.core.errors import PotstillError
from potstill.distilled import DistilledSet
from potstill.encoders import Encoder
from potstill.guidance.push import Pace
from potstill.methods import Method
from potstill.methods.guided import Guided
from potstill.run import distill
from potstill.sweeps import Sweep

OWN = Path(__file__).parents[1] / "docs" / "add-your-own.md"


@pytest.mark.parametrize("name", potstill.__all__)
def test_public_names_are_things_and_not_modules(name):
    importlib.import_module("potstill.cli")
    for _ in range(2):
        assert not hasattr(getattr(potstill, name), "__path__") and getattr(potstill, name) is not None
        assert type(getattr(potstill, name)).__name__ != "module"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'distil'"):
        potstill.distil  # noqa: B018


def test_places_may_be_text(tmp_path):
    """What users write: a path as a string, from data to page."""
    recipe = dataclasses.replace(potstill.RECIPES["digits-random"](), images_per_class=1)
    folder = str(tmp_path / "set")
    potstill.distill(recipe, folder)
    held = potstill.DistilledSet.load(folder)
    assert held.folder == tmp_path / "set" and len(held.images()) == 10
    assert potstill.page([folder], [], str(tmp_path / "page.html"), title="t") == tmp_path / "page.html"
    swept = potstill.sweep(dataclasses.replace(recipe, students=0), {}, str(tmp_path / "sweep"))
    assert Sweep.load(str(tmp_path / "sweep")) == swept


def test_pixels_of_integers_are_refused(tiny_dit, tiny_clip):
    """uint8 would be taken for images that are white nearly everywhere."""
    pixels = torch.full((1, 3, 32, 32), 200, dtype=torch.uint8)
    for look in (Encoder.from_pretrained(tiny_clip).images, potstill.Prior.from_pretrained(tiny_dit).encode):
        with pytest.raises(PotstillError, match=r"floats in \[0, 1\], not torch.uint8: divide uint8 by 255"):
            look(pixels)


def documented(name: str):
    """The class of this name, from the page on parts of one's own."""
    (block,) = (
        text for text in re.findall(r"```python\n(.*?)```", OWN.read_text(), re.S) if f"class {name}:" in text
    )
    held = {"__name__": "documented"}
    exec(block, held)
    return held[name]


def made_by(method: Method, out: Path) -> DistilledSet:
    real = potstill.load("digits", classes="3,8")
    return distill(method, real, out, name="own", images_per_class=2)


def test_the_documented_method_repeats_the_mean_image(tmp_path):
    real = potstill.load("digits", classes="3,8")
    mean = real.train.pixels(real.train.of_class(1), real.size).float().mean(0).round()
    assert (made_by(documented("MeanImage")(), tmp_path).images()[2:] == mean).all()


def test_the_documented_term_brightens(tiny_dit, tmp_path):
    """Twice as much at twice the pace, to first order; and it is told in the record."""
    means = []
    for weight in (0.0, 0.01, 0.02):
        term = documented("Brighter")(pace=Pace(weight=weight, normalise=True))
        made = made_by(Guided(prior=tiny_dit, scale=1.0, terms=(term,), steps=8), tmp_path / str(weight))
        means.append(made.images().float().mean().item())
        assert made.manifest.method["terms"][0]["kind"] == "brighter"
    assert means[0] < means[1] < means[2]
    assert means[2] - means[0] == pytest.approx(2 * (means[1] - means[0]), rel=0.2)
