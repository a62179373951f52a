"""Class keys, their human names, and the named subsets of ImageNet."""

import difflib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from potstill.core.errors import PotstillError, unknown
from potstill.data.real import Classes

_LISTS = {
    "imagenette": "0 217 482 491 497 566 569 571 574 701",
    "imagewoof": "193 182 258 162 155 167 159 273 207 229",
    "imagenet-100": (
        "452 64 374 236 993 176 882 904 503 74 57 959 953 508 872 228 122 421 599 858 157 449 994 608 151 "
        "209 15 876 246 766 455 857 131 119 234 90 45 936 479 272 665 653 659 158 960 765 908 703 407 560 "
        "317 938 724 748 331 619 120 267 155 708 368 772 167 494 180 431 342 854 305 54 268 667 166 277 "
        "662 798 313 498 299 222 682 593 775 674 592 137 758 717 606 281 796 211 620 830 544 275 242 570 "
        "99 169"
    ),
    "idc-10": "64 74 176 236 374 452 503 882 904 993",
    "imagenet-a": "255 376 984 364 500 986 333 576 148 135",
    "imagenet-b": "129 916 90 275 995 874 102 259 685 139",
    "imagenet-c": "565 94 554 535 92 392 291 136 324 11",
    "imagenet-d": "9 258 13 262 19 339 321 24 93 322",
    "imagenet-e": "816 96 100 145 739 713 783 76 688 326",
    "birds": "84 130 88 144 145 22 96 9 100 89",
    "fruits": "953 954 949 950 951 957 952 945 943 948",
    "cats": "281 282 283 284 285 291 292 290 289 287",
    "yellow": "309 986 954 951 987 779 599 291 72 11",
    "geo": "980 970 975 974 973 977 976 978 972 979",
    "food": "933 934 932 963 930 928 924 959 931 927",
    "mammals": "386 387 354 340 338 104 103 279 334 366",
    "marine": "148 2 397 327 33 150 107 108 119 392",
}

SUBSETS: Mapping[str, tuple[int, ...]] = {
    "imagenet-1k": tuple(range(1000)),
    **{name: tuple(map(int, indices.split())) for name, indices in _LISTS.items()},
}
"""ILSVRC-2012 indices in label order.

Source: the class lists of Minimax and CoDA (as far as imagenet-e) and the configuration of LD3M (all but
imagenet-100 and idc-10). idc-10 is in CoDA's sorted order; imagenet-100 begins with the same ten in another.
"""

ALIASES: Mapping[str, str] = {
    "imagenet": "imagenet-1k",
    "nette": "imagenette",
    "woof": "imagewoof",
    "idc": "idc-10",
    "imagenet-10": "idc-10",
    "squawk": "birds",
    "fruit": "fruits",
    "meow": "cats",
}
"""Other names in use."""

_SHOWN = 30
_LETTERED = re.compile(r"imagenet-[a-e]")  # not without its dash: "imagenete" is imagenette misspelt
_WORDNET = re.compile(r"n[0-9]{8}")


@cache
def imagenet() -> Classes:
    """The 1,000 classes of ILSVRC-2012 by ascending WordNet id, so that positions are ImageNet's labels.

    A fixed table, since positions in a folder listing are other numbers as soon as one class folder is
    missing. Names are CLIP's.
    """
    lines = Path(__file__).with_name("imagenet_classes.txt").read_text(encoding="utf-8").splitlines()
    keys, names = zip(*(line.split(" ", 1) for line in lines), strict=True)
    return Classes(keys, names)


def subset(name: str) -> tuple[str, ...]:
    """The WordNet ids of a named subset, in its list's order; raises PotstillError for an unknown name."""
    found = subset_name(name)
    if found is None:
        raise unknown("subset", name, SUBSETS)
    keys = imagenet().keys
    return tuple(keys[index] for index in SUBSETS[found])


def subset_name(name: str) -> str | None:
    """A subset's name in `SUBSETS` for what people call it, in any case and punctuation; else None."""
    known = {other: other for other in SUBSETS} | dict(ALIASES)
    dashed = re.sub(r"[^a-z0-9]+", "-", name.lower())
    known |= {
        other.replace("-", ""): subset for other, subset in known.items() if not _LETTERED.fullmatch(other)
    }
    for form in (dashed, *(re.sub(f"^{prefix}-?", "", dashed) for prefix in ("imagenet", "image"))):
        if form in known:
            return known[form]
    return None


def named(keys: Sequence[str]) -> Classes:
    """Classes with human names: ImageNet's where all keys are WordNet ids, else the keys, "_" as a space."""
    if all(_WORDNET.fullmatch(key) for key in keys):
        table = dict(zip(imagenet().keys, imagenet().names, strict=True))
        return Classes(tuple(keys), tuple(table.get(key, key) for key in keys))
    return Classes(tuple(keys), tuple(key.replace("_", " ") for key in keys))


def mirror_keeps(keys: Sequence[str]) -> bool:
    """Whether a horizontal flip is taken to keep the class: not where every key is one sign, as in digits."""
    return any(len(key) > 1 for key in keys)


def choose(classes: str | None, available: Sequence[str], where: str) -> tuple[str, ...]:
    """The class keys that the user asks for: all, keys with commas, or a subset by name.

    A data set's own keys go before a subset of the same name. Raises PotstillError for a class that is not
    available, naming `where`, near and available ones.
    """
    if classes is None:
        return tuple(available)
    present = set(available)
    if classes in present:
        return (classes,)
    keys = tuple(key.strip() for key in classes.split(","))
    absent = [key for key in keys if key not in present]
    if not absent:
        return Classes(keys, keys).keys
    if subset_name(classes) is None:
        raise _unknown_class(absent[0], available, where)
    keys = subset(classes)
    absent = [key for key in keys if key not in present]
    if absent:
        listed = ", ".join(absent[:_SHOWN]) + (" ..." if len(absent) > _SHOWN else "")
        raise PotstillError(
            f"{where} lacks {len(absent)} of the {len(keys)} classes of {classes!r}: {listed}"
        )
    return keys


def _unknown_class(key: str, available: Sequence[str], where: str) -> PotstillError:
    near = difflib.get_close_matches(key, available, n=2) or difflib.get_close_matches(key, SUBSETS, n=2)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    listed = ", ".join(available[:_SHOWN]) or "none"
    rest = f" ... ({len(available)} in all)" if len(available) > _SHOWN else ""
    return PotstillError(
        f"unknown class {key!r} in {where}.{hint} Allowed: its classes {listed}{rest}, with commas; or a "
        f"subset of {', '.join(SUBSETS)}."
    )
