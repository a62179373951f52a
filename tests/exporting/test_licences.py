"""Every checkpoint that a recipe names has a licence on record, and a set names those of what it was made from."""

import json
import re
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from potstill.bundled import models
from potstill.bundled.licences import (
    DATA,
    LICENCES,
    MODELS,
    data_licence,
    licences,
    model_licence,
    named,
    warnings,
)
from potstill.cli import app
from potstill.core.settings import to_plain
from potstill.distilled import Manifest
from potstill.methods.coreset import Herding
from potstill.recipes import RECIPES, STUDIES
from potstill.report.card import card
from potstill.run import distill

OWN = ("./", "models/", "runs/")
"""Where recipes expect folders that a user brings."""


def texts(value):
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [value] if isinstance(value, str) else []


def sources(recipe):
    """What looks like a model or data set of a hub, or a path, anywhere in a recipe."""
    return {text for text in texts(to_plain(recipe)) if re.fullmatch(r"(hub:)?[\w.-]+(/[\w.-]+)+", text)}


def test_the_licences_of_every_recipe_are_known():
    told = [*(RECIPES[name]() for name in RECIPES), *(STUDIES[name]() for name in STUDIES)]
    found = {source for one in told for source in sources(one)}
    data = {source for source in found if source.startswith("hub:")}
    own = {source for source in found if source.startswith(OWN)}
    worlds = {name.split("/")[0] for name in models()}
    hub = {source for source in found - data - own if source.split("/")[0] not in worlds}
    assert {"facebook/DiT-XL-2-256", "microsoft/resnet-18"} <= hub and "hub:ethz/food101" in data
    assert hub <= MODELS.keys(), "add these to potstill.bundled.licences"
    assert {source.rpartition("/")[2] for source in data} | {"digits"} <= DATA.keys()
    assert {RECIPES[name]().data for name in RECIPES} == data | {"digits"}


def test_tables_name_licences_that_are_judged():
    for identifier, _ in (*MODELS.values(), *DATA.values()):
        assert identifier in LICENCES
    for licence in LICENCES.values():
        assert (licence.commercial is None) == (licence.id == "unknown") == (not licence.url)


def test_shipped_models_are_under_what_their_cards_say():
    assert {name: model_licence(name).id for name in models()} == dict.fromkeys(models(), "apache-2.0")


def test_no_data_set_is_judged_free():
    assert not any(named(identifier).commercial for identifier, _ in DATA.values())
    assert data_licence("hub:ILSVRC/imagenet-1k") == data_licence("imagenet-1k:imagewoof")
    assert data_licence("imagenet-1k").commercial is False
    assert data_licence("my-flowers").id == "unknown"


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\ntags:\n- x\nlicense: 'gpl-3.0'\n---\nlicense: mit\n", "gpl-3.0"),
        ("---\ntags: [x]\n---\nlicense: mit\n", "unknown"),
        ("---\nlicense: [mit, apache-2.0]\n---\n", "unknown"),
        ("license: mit\n", "unknown"),
        ("---\nlicense: mit", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_folders_licence_is_what_the_front_matter_of_its_card_says(tmp_path, text, licence):
    (tmp_path / "README.md").write_text(text)
    assert model_licence(str(tmp_path)).id == licence


def test_doubts_are_told_and_nothing_else():
    told = warnings({"free": "mit", "bound": "cc-by-nc-4.0", "who": "unknown", "odd": "gpl-3.0"})
    assert told == [
        "bound is under cc-by-nc-4.0, which allows no commercial use",
        "the licence of who is unknown",
        "the licence of odd is gpl-3.0, not judged here",
    ]


def test_a_set_records_the_licences_of_models_and_data(few, tmp_path):
    made = distill(Herding(features="digits/teacher"), few, tmp_path / "set", name="h", images_per_class=1)
    recorded = Manifest.load(tmp_path / "set").licences
    assert recorded == made.manifest.licences == {"digits/teacher": "apache-2.0", few.name: "unknown"}
    text = card(tmp_path / "set")
    assert "| digits/teacher | [apache-2.0](" in text
    assert f"the licence of {few.name} is unknown" in text and "licence of digits/teacher" not in text


def test_a_record_wins_and_older_sets_are_looked_up(few, tmp_path):
    made = distill(Herding(features="digits/teacher"), few, tmp_path / "set", name="h", images_per_class=1)
    file = tmp_path / "set/potstill.json"
    for recorded, expected in (({"digits/teacher": "gpl-3.0"}, "gpl-3.0"), ({}, "apache-2.0")):
        file.write_text(json.dumps(to_plain(replace(made.manifest, licences=recorded))))
        assert expected in card(tmp_path / "set").split("## Licences")[1]
    plain = to_plain(made.manifest)
    del plain["licences"]
    file.write_text(json.dumps(plain))
    assert Manifest.load(tmp_path / "set").licences == {}


def test_licences_are_found_by_name():
    assert licences(["facebook/DiT-XL-2-256", "./models/mine"], "digits:2,3") == {
        "facebook/DiT-XL-2-256": "cc-by-nc-4.0",
        "./models/mine": "unknown",
        "digits:2,3": "unknown",
    }


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("facebook/DiT-XL-2-256", "cc-by-nc-4.0"),
        ("hub:ILSVRC/imagenet-1k", "imagenet"),
        ("cifar10", "unknown"),
    ],
)
def test_show_prints_a_licence(name, identifier):
    done = CliRunner().invoke(app, ["show", name])
    assert done.exit_code == 0 and json.loads(done.stdout)["id"] == identifier
