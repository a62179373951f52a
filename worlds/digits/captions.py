"""Captions of single digits: what is said, and for which digits it is true."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WORDINGS: dict[str, tuple[str, ...]] = {
    "no hole": ("no hole", "no closed loop", "open strokes only"),
    "one hole": ("one hole", "one closed loop", "a single closed loop"),
    "two holes": ("two holes", "two closed loops", "two separate loops stacked vertically"),
    "high hole": ("a closed loop in the upper half", "a small hole near the top of the figure"),
    "low hole": ("a closed loop in the lower half", "a hole low in the figure"),
    "middle hole": ("a hole in the middle", "an empty center"),
    "large hole": ("one large hole", "a large empty middle"),
    "small hole": ("a small hole", "a tiny closed loop"),
    "tall hole": ("a loop spanning the full height of the figure", "a tall empty loop"),
    "lower loop larger": ("a lower loop wider than the upper loop", "the larger loop below"),
    "no free end": ("no free end", "a stroke closing on itself"),
    "one free end": ("one free end", "a single free end"),
    "two free ends": ("two free ends", "exactly two stroke ends"),
    "three free ends": ("three free ends", "three or more stroke ends"),
    "strokes meet": ("strokes that meet or cross", "a branching line"),
    "no branch": ("one unbranched line", "a simple stroke without crossing"),
    "end upper left": ("a free end at the upper left",),
    "end upper right": ("a free end at the upper right",),
    "end lower left": ("a free end at the lower left",),
    "end lower right": ("a free end at the lower right", "a tail at the lower right"),
    "end at the bottom": ("a free end at the bottom", "a stroke ending at the very bottom"),
    "end at the top": ("a free end at the top", "a stroke starting at the very top"),
    "narrow": ("a very narrow width", "wide blank space on both sides"),
    "wide": ("a figure as wide as tall", "a broad squat shape"),
    "tall": ("a tall slim shape",),
    "thin stroke": ("a thin stroke", "thin fine lines"),
    "thick stroke": ("a thick stroke", "heavy bold lines"),
    "wide top": ("a top wider than the bottom", "a top-heavy shape with a thin bottom"),
    "wide bottom": ("a bottom wider than the top", "a bottom-heavy shape with a narrow top"),
    "pinched": ("a pinched waist in the middle", "an hourglass outline"),
    "bulging middle": ("a middle wider than top and bottom", "sides bowed outward"),
    "symmetric": ("left and right sides alike", "a symmetric outline"),
    "top bar": ("a horizontal bar across the top", "a flat top bar"),
    "bottom bar": ("a horizontal bar along the bottom", "a flat base stroke"),
    "middle bar": ("a horizontal bar through the middle", "a crossbar"),
    "stem right": ("a long vertical stem on the right", "a straight right edge"),
    "stem left": ("a long vertical stroke on the left", "a continuous left edge"),
    "stem middle": ("a long vertical stem in the middle",),
    "upright": ("an upright posture", "no slant"),
    "leans right": ("a slant to the right", "a shape leaning to the right"),
    "leans left": ("a slant to the left", "a shape leaning to the left"),
    "strong slant": ("a strong slant", "a steeply slanted shape"),
    "open upper left": ("an opening at the upper left", "open space at the upper left"),
    "open lower left": ("an opening at the lower left", "open space at the lower left"),
    "open upper right": ("an opening at the upper right", "open space at the upper right"),
    "open lower right": ("an opening at the lower right", "open space at the lower right"),
    "open top": ("an open top", "a gap at the top"),
    "closed top": ("a closed rounded top", "a covered top"),
}
"""Facts that strokes.py measures, in words."""

SHOWN_BY: dict[str, tuple[str, ...]] = {
    "single closed oval loop": ("one hole",),
    "one large empty hole in the middle": ("large hole",),
    "left and right sides bowed outward equally": ("bulging middle",),
    "stroke ends meeting at the top": ("no free end",),
    "one loop spanning the full height of the figure": ("tall hole",),
    "slightly slanted egg-shaped ring": ("one hole", "leans right"),
    "very narrow width compared to its height": ("narrow",),
    "two free ends, at the very top and very bottom": ("end at the top", "end at the bottom"),
    "thin line slanted slightly to the right": ("leans right",),
    "wide blank space on both sides of the line": ("narrow",),
    "simple unbranched bar shape": ("no branch",),
    "flat horizontal base stroke": ("bottom bar",),
    "small loop at the bottom left corner": ("low hole",),
    "sharp turn where the diagonal meets the base": ("no hole",),
    "curved hook start at the upper left": ("end upper left",),
    "tail extending to the right along the bottom": ("end lower right",),
    "opening on the right side below the arch": ("open lower right",),
    "wavy bottom line ending at the lower right": ("end lower right",),
    "both bowls open on the left side": ("open upper left", "open lower left"),
    "rounded top arch starting at the upper left": ("end upper left",),
    "two free ends on the left, at top and bottom": ("end upper left", "end lower left"),
    "pointed notch at the middle pointing left": ("end middle left",),
    "flat top bar with an angled turn into the lower bowl": ("top bar",),
    "lower bowl slightly larger than the upper bowl": ("wide bottom",),
    "long straight vertical stem on the right": ("stem right",),
    "horizontal bar crossing the vertical stem": ("middle bar",),
    "open gap at the top between two upright strokes": ("open top",),
    "stem extending below the crossbar": ("end at the bottom",),
    "triangular enclosed area at the upper left": ("one hole",),
    "short slanted stroke at the upper left": ("end upper left",),
    "small crossbar end sticking out to the right": ("end lower right",),
    "flat horizontal bar across the top": ("top bar",),
    "round lower bowl open to the left": ("open lower left",),
    "top bar pointing to the right with a free end": ("end upper right",),
    "lower stroke curling back to the left": ("end lower left",),
    "opening on the upper right side": ("open upper right",),
    "closed round loop in the lower half": ("low hole",),
    "single free end at the upper right": ("one free end", "end upper right"),
    "open space at the upper right above the loop": ("open upper right",),
    "bottom-heavy shape with a narrow top": ("wide bottom",),
    "stroke curling inward to close at mid-height": ("one hole",),
    "continuous curved left edge from top to bottom": ("stem left",),
    "small hole low in the figure": ("low hole", "small hole"),
    "tail at the top leaning to the right": ("leans right",),
    "horizontal bar across the top": ("top bar",),
    "long diagonal stroke slanting down to the left": ("leans right",),
    "large open area at the lower left": ("open lower left",),
    "slanted leg ending in a single free tip": ("end at the bottom",),
    "short crossbar through the middle of the diagonal": ("three free ends",),
    "free left end of the top bar": ("end upper left",),
    "two closed loops stacked vertically": ("two holes",),
    "pinched waist in the middle": ("pinched",),
    "two separate holes, one above the other": ("two holes",),
    "continuous curve closing on itself at the top": ("no free end",),
    "outline like an hourglass": ("pinched",),
    "lower loop slightly wider than the upper loop": ("lower loop larger",),
    "closed round loop in the upper half": ("high hole",),
    "straight or slightly curved stem going down from the loop": ("end at the bottom",),
    "single free end at the bottom": ("one free end", "end at the bottom"),
    "open space at the lower left below the loop": ("open lower left",),
    "top-heavy shape with a thin bottom": ("wide top",),
    "small hole near the top of the figure": ("high hole", "small hole"),
    "rounded top edge joining a vertical right side": ("stem right",),
    "tail curving toward the left at the bottom": ("end lower left",),
}
"""Phrases of the bank whose truth can be measured, with the facts that show it; others hold for a class."""

FRAMES = ("a digit with {}", "a handwritten digit with {}", "a figure with {}", "{}")
NAMED = ("a {}", "a photo of a {}", "{}", "the {}")


@dataclass(frozen=True)
class Caption:
    """A text and what it claims: a class, or any (-1), and facts."""

    text: str
    label: int
    claims: tuple[str, ...]


@cache
def bank() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Each class's name and phrases, in label order."""
    file = Path("src/potstill/bundled/concepts/digits.jsonl")
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    return tuple((entry["class_name"], tuple(entry["concepts"])) for entry in entries)


def caption(label: int, facts: dict[str, bool], draw: np.random.Generator) -> Caption:
    """One true caption of a digit: half the time in the bank's form, "{class name} with {phrase}"."""
    name, phrases = bank()[label]
    true = [fact for fact in WORDINGS if facts[fact]]
    kind = draw.random()
    if kind < 0.1:
        return Caption(draw.choice(NAMED).format(name), label, ())
    if kind < 0.55:
        held = [phrase for phrase in phrases if all(facts[fact] for fact in SHOWN_BY.get(phrase, ()))]
        phrase = str(draw.choice(held or list(phrases[:1])))
        return Caption(f"{name} with {phrase}", label, SHOWN_BY.get(phrase, ()))
    told = [str(fact) for fact in draw.permutation(true)[: 1 + int(draw.integers(3))]]
    words = " and ".join(str(draw.choice(WORDINGS[fact])) for fact in told)
    if kind < 0.8:
        return Caption(f"{name} with {words}", label, tuple(told))
    return Caption(str(draw.choice(FRAMES)).format(words), -1, tuple(told))


def holds(
    captions: list[Caption], labels: NDArray[np.int64], seen: list[dict[str, bool]]
) -> NDArray[np.bool_]:
    """Which captions are true of which digits, [digits, captions]."""
    names = list(seen[0])
    table = np.array([[facts[name] for name in names] for facts in seen])
    claims = np.array([[name in caption.claims for name in names] for caption in captions])
    broken = (~table).astype(np.float32) @ claims.T.astype(np.float32) > 0
    stated = np.array([caption.label for caption in captions])
    return ~broken & ((stated[None] == labels[:, None]) | (stated[None] < 0))
