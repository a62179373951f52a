"""Facts of drawn figures whose strokes are known."""

import numpy as np
import pytest

pytest.importorskip("skimage")
from worlds.digits.strokes import facts


def canvas():
    return np.zeros((32, 32), np.float32)


def ring(picture, row, column, radius, width=3.0):
    down, right = np.mgrid[:32, :32]
    away = np.hypot(down - row, right - column)
    picture[np.abs(away - radius) < width / 2] = 1
    return picture


def bar(picture, top, bottom, left, right):
    picture[top:bottom, left:right] = 1
    return picture


def held(picture):
    return {name for name, true in facts(picture).items() if true}


def test_a_ring_has_one_large_hole_and_no_free_end():
    seen = held(ring(canvas(), 16, 16, 8))
    assert {"one hole", "large hole", "middle hole", "no free end", "symmetric", "upright"} <= seen
    assert not {"no hole", "two holes", "one free end", "narrow"} & seen


def test_an_upright_bar_has_two_free_ends_and_is_narrow():
    seen = held(bar(canvas(), 6, 26, 15, 18))
    assert {"no hole", "two free ends", "end at the top", "end at the bottom", "narrow", "no branch"} <= seen
    assert not {"top bar", "leans right", "leans left", "one hole"} & seen


def test_stacked_rings_are_two_holes_and_the_larger_is_named():
    seen = held(ring(ring(canvas(), 9, 16, 4), 20, 16, 6))
    assert {"two holes", "lower loop larger", "no free end"} <= seen
    assert "one hole" not in seen


@pytest.mark.parametrize(("row", "stem", "hole"), [(10, (14, 28), "high hole"), (21, (3, 17), "low hole")])
def test_where_a_loop_sits(row, stem, hole):
    picture = bar(ring(canvas(), row, 16, 5), *stem, 20, 23)
    seen = held(picture)
    assert {"one hole", hole, "one free end", "strokes meet"} <= seen


def test_slant_follows_the_lean_of_a_stroke():
    picture = canvas()
    for row in range(6, 26):
        picture[row, 22 - row // 2 - 1 : 22 - row // 2 + 2] = 1
    assert {"leans right", "strong slant"} <= held(picture)
    assert "leans left" in held(picture[:, ::-1])


def test_bars_are_found_where_they_are_drawn():
    seven = bar(bar(canvas(), 5, 8, 8, 24), 8, 27, 21, 24)
    seen = held(seven)
    assert {"top bar", "stem right", "open lower left", "closed top"} <= seen
    assert not {"bottom bar", "stem left", "open lower right"} & seen
