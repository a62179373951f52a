import pytest
from PIL import Image
from report.fakes import KEYS, shade_of

from potstill.core.errors import PotstillError
from potstill.report.grid import grid


def test_every_arm_and_class_is_there(make_set, tmp_path):
    sets = [make_set("a", 0), make_set("b", 1, kind="random", scored=False)]
    out = grid(sets, tmp_path / "grid.png", per_class=2, side=20)
    with Image.open(out) as opened:
        shades = {colour: count for count, colour in opened.convert("RGB").getcolors(100_000) or []}
    # 8 px images are drawn at twice their size: 16 px, one shade each.
    for arm in range(2):
        for label in range(3):
            for index in range(2):
                assert shades[(shade_of(arm, label, index),) * 3] == 16 * 16


def test_large_images_are_scaled_down_and_classes_chosen(make_set, tmp_path):
    whole = grid([make_set("a", size=70)], tmp_path / "whole.png", side=32)
    one = grid([tmp_path / "set-0-a"], tmp_path / "one.png", side=32, classes=[KEYS[1]], per_class=1)
    with Image.open(whole) as first, Image.open(one) as second:
        assert first.width - second.width == 2 * (32 + 4)
        assert first.height - second.height >= 32 + 4


def test_mistakes_are_named(make_set, tmp_path):
    with pytest.raises(PotstillError, match="at least one set"):
        grid([], tmp_path / "grid.png")
    with pytest.raises(PotstillError, match="unknown class 'cat'"):
        grid([make_set("a")], tmp_path / "grid.png", classes=["cat"])
