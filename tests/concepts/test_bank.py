"""Concept banks: the shipped ones, and what is said of broken ones."""

import json

import pytest

from potstill.bundled import banks
from potstill.concepts import ConceptBank
from potstill.concepts.bank import Entry
from potstill.core.errors import PotstillError
from potstill.data.classes import imagenet

COUNTS = {
    "imagenet1k": 1000,
    "food101": 101,
    "cifar100": 100,
    "cifar10": 10,
    "digits": 10,
    "fashion_mnist": 10,
}


@pytest.mark.parametrize(("name", "classes"), COUNTS.items())
def test_shipped_banks_hold_ten_phrases_of_every_class(name, classes):
    bank = ConceptBank.load(name)
    assert len(bank.entries) == classes
    assert {len(entry.concepts) for entry in bank.entries.values()} == {10}
    assert max(len(phrase) for entry in bank.entries.values() for phrase in entry.concepts) < 128


def test_every_shipped_bank_is_known():
    assert set(banks()) == set(COUNTS)


def test_the_imagenet_bank_and_the_class_table_agree():
    assert tuple(ConceptBank.load("imagenet1k").entries) == imagenet().keys


def test_a_line_ends_at_a_line_feed_alone(tmp_path):
    held = {"a": Entry(index=0, key="a", class_name="a\u2028b\x85c", concepts=("\x1cred\x0b",))}
    ConceptBank("bank", held).save(tmp_path / "bank.jsonl")
    assert ConceptBank.load(str(tmp_path / "bank.jsonl")).entries == held


def test_a_bank_is_saved_and_read_alike(tmp_path):
    bank = ConceptBank.load("digits")
    bank.save(tmp_path / "digits.jsonl")
    assert ConceptBank.load(str(tmp_path / "digits.jsonl")).entries == bank.entries


def test_texts_have_the_papers_form():
    entry = ConceptBank.load("digits").entries["8"]
    assert entry.texts()[0] == "handwritten eight with two closed loops stacked vertically"


def test_classes_come_in_the_order_asked_for():
    assert list(ConceptBank.load("digits").select(["7", "1"]).entries) == ["7", "1"]
    with pytest.raises(PotstillError, match="lacks 1 classes: ten"):
        ConceptBank.load("digits").select(["1", "ten"])


GOOD = {"index": 0, "key": "a", "class_name": "an a", "concepts": ["round"]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not valid JSON"),
        (json.dumps(GOOD | {"phrases": []}), "unknown Entry setting 'phrases'"),
        (json.dumps({"index": 0, "key": "a", "class_name": "a"}), "lacks concepts"),
        (json.dumps(GOOD | {"concepts": []}), "no concepts"),
        (json.dumps(GOOD | {"concepts": ["x", "x"]}), "names a phrase twice"),
        (json.dumps(GOOD | {"concepts": ["x", " "]}), "an empty phrase"),
        (json.dumps(GOOD | {"concepts": [3]}), "expected str, found 3"),
        (json.dumps(GOOD) + "\n" + json.dumps(GOOD), "line 2: class 'a' stands twice"),
        ("", "holds no classes"),
    ],
)
def test_a_broken_bank_is_named(tmp_path, line, message):
    file = tmp_path / "bank.jsonl"
    file.write_text(line)
    with pytest.raises(PotstillError, match=message) as caught:
        ConceptBank.load(str(file))
    assert str(file) in str(caught.value)


def test_an_unknown_bank_is_named():
    with pytest.raises(PotstillError, match="unknown concept bank 'digit'. Did you mean 'digits'"):
        ConceptBank.load("digit")
