"""Classes are told by key and name, and orders of them by word, list or file."""

from pathlib import Path

import pytest

from potstill.core.errors import PotstillError
from potstill.data.classes import imagenet, named
from potstill.data.matching import ORDERS, class_order, match_classes, matched
from potstill.data.real import Classes

PETS = Classes(("n01", "n02", "n03"), ("tabby, cat", "Great_Dane", "gold fish"))
NUMBERS = Classes(tuple(map(str, range(12))), tuple(map(str, range(12))))


def keys(*texts: str) -> Classes:
    return Classes(texts, texts)


@pytest.mark.parametrize(
    ("found", "places"),
    [
        (keys("n03", "n01", "n02"), (2, 0, 1)),
        (keys("N03", "N01"), (2, 0)),
        (keys("great-dane", "Tabby", "GOLD_FISH"), (1, 0, 2)),
        (keys("tabby", "poodle"), (0, None)),
        (keys("0", "1"), (None, None)),
        (keys("n01", "tabby"), (0, None)),
        (keys("tabby", "TABBY"), (None, None)),
    ],
)
def test_by_key_then_by_name(found: Classes, places: tuple[int | None, ...]) -> None:
    assert matched(found, PETS) == places


def test_a_number_is_the_key_of_that_number_and_no_position() -> None:
    assert matched(keys("00010", "00002", "00000"), NUMBERS) == (10, 2, 0)
    shuffled = Classes(("7", "3"), ("a", "b"))
    assert matched(keys("00003", "00007"), shuffled) == (1, 0)
    with pytest.raises(PotstillError, match="say nothing without their order: name it with --class-order"):
        match_classes(keys("00000", "00001", "00002"), PETS, "folder", "pets")


def test_wordnet_ids_and_imagenets_names_are_the_same_classes() -> None:
    some = tuple(imagenet().keys[place] for place in (0, 217, 999))
    by_id = named(some)
    by_name = Classes(by_id.names, by_id.names)
    assert matched(by_name, by_id) == matched(by_id, by_name) == (0, 1, 2)


def test_a_name_that_two_classes_share_is_neither() -> None:
    cranes = Classes(("n02012849", "n03126707"), ("crane", "crane"))
    assert matched(keys("crane"), cranes) == (None,)
    assert matched(keys("n03126707"), cranes) == (1,)


def test_an_exact_key_goes_before_another_classes_name() -> None:
    confusing = Classes(("a", "b"), ("b", "a"))
    assert matched(keys("a", "b"), confusing) == (0, 1)


def test_what_does_not_match_is_named() -> None:
    with pytest.raises(
        PotstillError, match=r"1 of its 3 classes are not those of pets: poodle\. Allowed: n01"
    ):
        match_classes(keys("tabby", "great dane", "poodle"), PETS, "folder", "pets")
    with pytest.raises(PotstillError, match="no images of 1 classes of pets: n02"):
        match_classes(keys("n01", "n03"), PETS, "folder", "pets")
    assert match_classes(keys("n03", "n02", "n01"), PETS, "folder", "pets") == (2, 1, 0)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("data", "2 10 1"),
        ("sorted", "1 10 2"),
        ("natural", "1 2 10"),
        ("names", "10 1 2"),
        ("reversed", "1 10 2"),
        ("plus-one", "1 2 10"),
        ("minus-one", "10 1 2"),
    ],
)
def test_orders_by_word(word: str, expected: str) -> None:
    classes = Classes(("2", "10", "1"), ("Zebra", "ant", "Bee"))
    assert class_order(word, classes) == tuple(expected.split())


def test_imagenets_order_and_the_list_of_words() -> None:
    assert class_order("imagenet", PETS) == imagenet().keys
    assert all(text for text, _ in ORDERS.values())


def test_orders_by_list_and_file(tmp_path: Path) -> None:
    assert class_order("n03, tabby,n02", PETS) == ("n03", "n01", "n02")
    file = tmp_path / "order.txt"
    file.write_text("gold fish\n\nn01\nGREAT DANE\n")
    assert class_order(str(file), PETS) == ("n03", "n01", "n02")
    file.write_text("background\nn01\nn02\nn03\n")
    assert class_order(str(file), PETS) == ("background", "n01", "n02", "n03")


def test_no_order() -> None:
    with pytest.raises(PotstillError, match="no class order 'sortd'.*Allowed: data, sorted"):
        class_order("sortd", PETS)
    with pytest.raises(PotstillError, match="more than once: n01"):
        class_order("n01,n01", PETS)
