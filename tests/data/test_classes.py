import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from potstill.core.errors import PotstillError
from potstill.data.classes import ALIASES, SUBSETS, choose, imagenet, mirror_keeps, named, subset, subset_name
from potstill.data.real import Classes

# The WordNet ids as the authors' own lists give them (Minimax, CoDA; DD-Ranking for cats, birds, fruits and
# yellow): a second source beside the indices in `SUBSETS`.
WORDNET = {
    "imagenette": """
        n01440764 n02102040 n02979186 n03000684 n03028079 n03394916 n03417042 n03425413 n03445777 n03888257
    """,
    "imagewoof": """
        n02096294 n02093754 n02111889 n02088364 n02086240 n02089973 n02087394 n02115641 n02099601 n02105641
    """,
    "idc-10": """
        n01749939 n01773797 n02091831 n02107142 n02488291 n02869837 n03062245 n04517823 n04589890 n13037406
    """,
    "imagenet-a": """
        n02111129 n02489166 n11879895 n02457408 n03042490 n12057211 n02342885 n03447447 n02071294 n02013706
    """,
    "imagenet-b": """
        n02006656 n06359193 n01820546 n02116738 n13044778 n04487081 n01872401 n02112018 n03841143 n02025239
    """,
    "imagenet-c": """
        n03393912 n01833805 n03344393 n03208938 n01828970 n02606052 n02129165 n02017213 n02280649 n01531178
    """,
    "imagenet-d": """
        n01518878 n02111889 n01534433 n02112706 n01592084 n02389026 n02276258 n01622779 n01829413 n02277742
    """,
    "imagenet-e": """
        n04277352 n01843383 n01860187 n02056570 n03992509 n03924679 n04153751 n01774750 n03857828 n02281787
    """,
    "cats": """
        n02123045 n02123159 n02123394 n02123597 n02124075 n02129165 n02129604 n02128925 n02128757 n02127052
    """,
    "birds": """
        n01806143 n02007558 n01818515 n02051845 n02056570 n01614925 n01843383 n01518878 n01860187 n01819313
    """,
    "fruits": """
        n07753275 n07753592 n07745940 n07747607 n07749582 n07768694 n07753113 n07720875 n07718472 n07742313
    """,
    "yellow": """
        n02206856 n12057211 n07753592 n07749582 n12144580 n04146614 n03530642 n02129165 n01773157 n01531178
    """,
    "imagenet-100": """
        n02869837 n01749939 n02488291 n02107142 n13037406 n02091831 n04517823 n04589890 n03062245 n01773797
        n01735189 n07831146 n07753275 n03085013 n04485082 n02105505 n01983481 n02788148 n03530642 n04435653
        n02086910 n02859443 n13040303 n03594734 n02085620 n02099849 n01558993 n04493381 n02109047 n04111531
        n02877765 n04429376 n02009229 n01978455 n02106550 n01820546 n01692333 n07714571 n02974003 n02114855
        n03785016 n03764736 n03775546 n02087046 n07836838 n04099969 n04592741 n03891251 n02701002 n03379051
        n02259212 n07715103 n03947888 n04026417 n02326432 n03637318 n01980166 n02113799 n02086240 n03903868
        n02483362 n04127249 n02089973 n03017168 n02093428 n02804414 n02396427 n04418357 n02172182 n01729322
        n02113978 n03787032 n02089867 n02119022 n03777754 n04238763 n02231487 n03032252 n02138441 n02104029
        n03837869 n03494278 n04136333 n03794056 n03492542 n02018207 n04067472 n03930630 n03584829 n02123045
        n04229816 n02100583 n03642806 n04336792 n03259280 n02116738 n02108089 n03424325 n01855672 n02090622
    """,
}

# LD3M gives these by index and name only: the first word of CLIP's name of the class that it names.
NAMES = {
    "geo": "volcano mountain lakeshore geyser coral sandbar promontory beach cliff valley",
    "food": "cheeseburger hot pretzel pizza baguette ice guacamole carbonara bagel trifle",
    "mammals": "African red arabian zebra guinea wallaby platypus Arctic porcupine gorilla",
    "marine": "killer great pufferfish starfish loggerhead sea jellyfish sea rock rock",
}


def test_the_table_is_imagenets_1000_sorted_ids() -> None:
    keys, names = imagenet().keys, imagenet().names
    assert len(keys) == len(names) == 1000
    assert list(keys) == sorted(set(keys))
    assert all(re.fullmatch(r"n[0-9]{8}", key) for key in keys)
    assert all(name and name == name.strip() for name in names)
    assert (keys[0], names[0]) == ("n01440764", "tench")
    assert (keys[207], names[207]) == ("n02099601", "Golden Retriever")
    assert (keys[999], names[999]) == ("n15075141", "toilet paper")


def test_the_table_agrees_with_the_concept_bank(shared_data: Callable[[str], Path]) -> None:
    bank = shared_data("imagenet-samples").parents[1] / "concepts" / "imagenet1k.jsonl"
    rows = [json.loads(line) for line in bank.read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(1000))
    assert tuple(row["key"] for row in rows) == imagenet().keys
    assert tuple(row["class_name"] for row in rows) == imagenet().names


@pytest.mark.parametrize("name", WORDNET)
def test_the_subsets_indices_are_the_published_wordnet_ids(name: str) -> None:
    assert subset(name) == tuple(WORDNET[name].split())


@pytest.mark.parametrize("name", NAMES)
def test_the_subsets_without_published_ids_have_the_published_names(name: str) -> None:
    names = [imagenet().names[index] for index in SUBSETS[name]]
    assert [found.split()[0].lower() for found in names] == NAMES[name].lower().split()


def test_every_subset_is_proved_and_of_distinct_classes() -> None:
    assert set(SUBSETS) == {"imagenet-1k", *WORDNET, *NAMES}
    assert subset("imagenet-1k") == imagenet().keys
    for name, indices in SUBSETS.items():
        assert len(set(indices)) == len(indices) == {"imagenet-1k": 1000, "imagenet-100": 100}.get(name, 10)
    assert set(SUBSETS["idc-10"]) == set(SUBSETS["imagenet-100"][:10])


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("ImageNette", "imagenette"),
        ("nette", "imagenette"),
        ("Image-Woof", "imagewoof"),
        ("WOOF", "imagewoof"),
        ("imagenet100", "imagenet-100"),
        ("ImageNet_100", "imagenet-100"),
        ("imagenet-10", "idc-10"),
        ("IDC", "idc-10"),
        ("ImageNet-A", "imagenet-a"),
        ("imagenet e", "imagenet-e"),
        ("squawk", "birds"),
        ("ImageSquawk", "birds"),
        ("imagenet-birds", "birds"),
        ("ImageFruit", "fruits"),
        ("meow", "cats"),
        ("imagenet-cats", "cats"),
        ("imageyellow", "yellow"),
        ("imagenet", "imagenet-1k"),
        ("ImageNet-1K", "imagenet-1k"),
    ],
)
def test_subsets_answer_to_what_people_call_them(given: str, name: str) -> None:
    assert subset_name(given) == name
    assert subset(given) == subset(name)


@pytest.mark.parametrize(
    "given", ["imagenete", "imageneta", "", "image", "imagenet-", "imagenet-f", "n01440764"]
)
def test_what_might_be_meant_is_not_guessed(given: str) -> None:
    assert subset_name(given) is None
    with pytest.raises(PotstillError, match="unknown subset.*Allowed: imagenet-1k, imagenette"):
        subset(given)


def test_names_and_aliases_do_not_meet() -> None:
    assert not set(ALIASES) & set(SUBSETS)
    assert set(ALIASES.values()) <= set(SUBSETS)
    assert all(subset_name(name) == name for name in SUBSETS)


def test_human_names() -> None:
    assert named(["n02099601", "n01440764"]) == Classes(
        ("n02099601", "n01440764"), ("Golden Retriever", "tench")
    )
    assert named(["n99999999", "n01440764"]).names == ("n99999999", "tench")
    assert named(["apple_pie", "n01440764"]).names == ("apple pie", "n01440764")


def test_signs_are_not_mirrored() -> None:
    assert not mirror_keeps("0123456789")
    assert mirror_keeps(["cat", "dog"])
    assert mirror_keeps([str(number) for number in range(100)])


def test_choose() -> None:
    assert choose(None, ["b", "a"], "x") == ("b", "a")
    assert choose("a", ["b", "a"], "x") == ("a",)
    assert choose(" c, a", ["a", "b", "c"], "x") == ("c", "a")
    assert choose("tench, Tinca tinca", ["tench, Tinca tinca", "cat"], "x") == ("tench, Tinca tinca",)
    assert choose("nette", imagenet().keys, "x") == subset("imagenette")


def test_choose_takes_a_data_sets_own_class_before_a_subset_of_that_name() -> None:
    assert choose("birds,cats", ["cats", "dogs", "birds"], "x") == ("birds", "cats")
    assert choose("birds", ["cats", "birds"], "x") == ("birds",)


@pytest.mark.parametrize(
    ("classes", "available", "message"),
    [
        (
            "cat,dgo",
            ["cat", "dog"],
            r"unknown class 'dgo' in pets. Did you mean 'dog'\? Allowed: its classes cat, dog",
        ),
        ("imagenete", ["cat"], "Did you mean 'imagenette'"),
        ("", ["cat"], "unknown class ''"),
        ("cat,cat", ["cat"], "more than once: cat"),
        ("woof", ["n02096294", "cat"], "pets lacks 9 of the 10 classes of 'woof': n02093754, n02111889"),
        ("n0144", imagenet().keys, r"1000 in all"),
    ],
)
def test_choose_names_what_is_wrong_and_what_is_near(
    classes: str, available: list[str], message: str
) -> None:
    with pytest.raises(PotstillError, match=message):
        choose(classes, available, "pets")
