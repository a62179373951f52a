import json

import pytest

from potstill.core.errors import PotstillError
from potstill.report.read import labels, read_arm, without_shared_words
from potstill.report.scores import complete, real_range, share_complete


def test_reads_what_is_there(make_set):
    arm = read_arm(make_set("a"))
    assert len(arm.pictures) == 12
    first = arm.pictures[0]
    assert first.scores == (0.15, 0.19, 0.23)
    assert first.mean == pytest.approx(0.19)
    assert first.negatives[0].key == "n 1"
    assert arm.facts.name_of("n 1").startswith("one & ")


def test_a_bare_set_is_enough(tmp_path):
    bare = {"name": "bare", "classes": {"keys": ["a"]}, "images_per_class": 1, "from_the_future": {"x": 1}}
    (tmp_path / "potstill.json").write_text(json.dumps(bare))
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "train/a/00000.png", "class": "a", "index": 0}\n')
    arm = read_arm(tmp_path)
    assert arm.pictures[0].mean is None
    assert complete(arm.facts, arm.pictures[0]) is None
    assert share_complete([arm]) is None
    assert arm.facts.name_of("a") == "a"


def test_complete_is_what_most_real_images_reach(make_set):
    arm = read_arm(make_set("a"))
    assert real_range(arm.facts, "0") == pytest.approx((0.2, 0.3, 0.4))
    # Means are 0.19 + 0.03 index + 0.02 label: only the very first image is below 0.2.
    assert share_complete([arm]) == pytest.approx(11 / 12)


def test_the_range_of_means_is_taken_where_it_is_on_record(make_set):
    facts = read_arm(make_set("a", changes={"real_means": {"0": [0.23, 0.3, 0.37]}})).facts
    assert real_range(facts, "0") == (0.23, 0.3, 0.37)
    assert real_range(facts, "n 1") == pytest.approx((0.2, 0.3, 0.4))
    assert real_range(facts, "other") is None


def test_labels_are_distinct(make_set):
    arms = [read_arm(make_set(name, arm)) for name, arm in (("a", 0), ("a", 1), ("b", 2))]
    found = labels(arms)
    assert len(set(found)) == 3 and found[2] == "b"
    other = read_arm(make_set("a", 3, changes={"seed": 8}))
    assert labels([arms[0], other]) == ["a, seed 7", "a, seed 8"]


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["handwritten one", "handwritten two"], ["one", "two"]),
        (["red fox", "red"], ["red fox", "red"]),
        (["red fox", "grey fox"], ["red fox", "grey fox"]),
        (["red fox"], ["red fox"]),
        ([], []),
    ],
)
def test_shared_words_are_left_out(names, short):
    assert without_shared_words(names) == short


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "metadata.jsonl, line 1: not valid JSON"),
        ("[]", "metadata.jsonl, line 1: expected an object"),
        ('{"file_name": "a", "class": "0", "index": "x"}', "line 1: index: expected int"),
        ('{"file_name": "a", "class": "0", "index": 0, "scores": [1]}', "line 1: 1 scores for 0 concepts"),
    ],
)
def test_a_broken_line_is_named(make_set, line, message):
    folder = make_set("a")
    (folder / "metadata.jsonl").write_text(line)
    with pytest.raises(PotstillError, match=message):
        read_arm(folder)


def test_what_is_no_set_is_named(tmp_path, make_set):
    with pytest.raises(PotstillError, match="not a distilled set"):
        read_arm(tmp_path)
    folder = make_set("a")
    (folder / "metadata.jsonl").unlink()
    with pytest.raises(PotstillError, match="unfinished"):
        read_arm(folder)


def test_a_picture_outside_the_set_is_refused(make_set):
    folder = make_set("a")
    (folder / "metadata.jsonl").write_text('{"file_name": "../secret.png", "class": "0", "index": 0}\n')
    arm = read_arm(folder)
    with pytest.raises(PotstillError, match="outside the set"):
        arm.file(arm.pictures[0])
