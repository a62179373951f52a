"""Which class is which where two lists of classes call them differently: by key or name, and never by position."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from potstill.core.errors import PotstillError
from potstill.core.files import read_lines
from potstill.data.classes import imagenet
from potstill.data.order import natural
from potstill.data.real import Classes

_SHOWN = 20


def matched(found: Classes, wanted: Classes) -> tuple[int | None, ...]:
    """For each class of `found` its position in `wanted`; None where there is none or more than one.

    The first of these rules that matches all classes holds, else the one that matches most: the same key; a key or
    name alike but for case, "_" and what follows a comma; keys that are the same number ("00003" and "3"). Classes
    that are WordNet ids go by ImageNet's names too.
    """
    best: tuple[int | None, ...] = (None,) * len(found)
    for forms in (_key, _loose, _number):
        owners: defaultdict[str, set[int]] = defaultdict(set)
        for place, pair in enumerate(zip(wanted.keys, wanted.names, strict=True)):
            for form in forms(*pair):
                owners[form].add(place)
        candidates = [
            set().union(*(owners.get(form, set()) for form in forms(*pair)))
            for pair in zip(found.keys, found.names, strict=True)
        ]
        places = [next(iter(one)) if len(one) == 1 else None for one in candidates]
        once = tuple(None if place is None or places.count(place) > 1 else place for place in places)
        if _known(once) > _known(best):
            best = once
    return best


def match_classes(found: Classes, wanted: Classes, where: str, data: str) -> tuple[int, ...]:
    """The position in `wanted`, the classes of `data`, of each class of `found`, which are those of `where`.

    Raises PotstillError that lists the classes that match none, or more than one, and those that are missing.
    """
    places = matched(found, wanted)
    strange = [key for key, place in zip(found.keys, places, strict=True) if place is None]
    if strange:
        numbered = all(key.isdecimal() for key in found.keys)
        hint = (
            " Its classes are numbers, which say nothing without their order: name it with --class-order"
            if numbered
            else " Rename its folders, or choose the classes of the real data with --classes"
        )
        raise PotstillError(
            f"{where}: {len(strange)} of its {len(found)} classes are not those of {data}: {_list(strange)}. "
            f"Allowed: {_list(wanted.keys)}.{hint}"
        )
    known = tuple(place for place in places if place is not None)
    missing = [key for place, key in enumerate(wanted.keys) if place not in set(known)]
    if missing:
        raise PotstillError(f"{where} has no images of {len(missing)} classes of {data}: {_list(missing)}")
    return known


def _sorted(classes: Classes) -> tuple[str, ...]:
    return tuple(sorted(classes.keys))


def _natural(classes: Classes) -> tuple[str, ...]:
    return tuple(sorted(classes.keys, key=natural))


def _by_name(classes: Classes) -> tuple[str, ...]:
    pairs = sorted(
        zip(classes.names, classes.keys, strict=True), key=lambda pair: (pair[0].casefold(), pair[1])
    )
    return tuple(key for _, key in pairs)


ORDERS: Mapping[str, tuple[str, Callable[[Classes], tuple[str, ...]]]] = {
    "data": ("the order of the real data", lambda classes: classes.keys),
    "sorted": ("keys sorted as text, so that 10 comes before 2", _sorted),
    "natural": ("keys sorted with numbers by value, so that 2 comes before 10", _natural),
    "names": ("classes sorted by name", _by_name),
    "reversed": ("the classes in reverse", lambda classes: classes.keys[::-1]),
    "plus-one": ("every class one place late", lambda classes: (classes.keys[-1], *classes.keys[:-1])),
    "minus-one": ("every class one place early", lambda classes: (*classes.keys[1:], classes.keys[0])),
    "imagenet": ("ImageNet's 1,000 classes in label order", lambda classes: imagenet().keys),
}
"""Orders of classes by name: in words, and as a function of the classes of the real data."""


LONGEST = 256
"""Bytes that no name of a file has; longer words are lists of keys."""


def class_order(order: str, classes: Classes) -> tuple[str, ...]:
    """The keys that `order` puts in order: a word of `ORDERS`, a file with a key a line, or keys with commas.

    In files and lists names do as well as keys. Raises PotstillError for a class given twice.
    """
    if order in ORDERS:
        return ORDERS[order][1](classes)
    file = Path(order).expanduser() if len(order.encode()) < LONGEST else None
    read = file is not None and file.is_file()
    lines = read_lines(file) if file is not None and read else order.split(",")
    given = [line.strip() for line in lines if line.strip()]
    if read or len(given) > 1:
        listed = Classes(tuple(given), tuple(given))
        places = matched(listed, classes)
        keys = [
            key if place is None else classes.keys[place] for key, place in zip(given, places, strict=True)
        ]
        return Classes(tuple(keys), tuple(keys)).keys
    raise PotstillError(
        f"no class order {order!r}: it is neither a file nor keys with commas. Allowed: {', '.join(ORDERS)}, "
        "a file with a key a line, keys with commas"
    )


def _key(key: str, name: str) -> set[str]:
    return {key}


def _loose(key: str, name: str) -> set[str]:
    return {_plain(text) for text in (key, name, key.split(",")[0], name.split(",")[0])}


def _number(key: str, name: str) -> set[str]:
    return {str(int(key))} if key.isdecimal() else set()


def _plain(text: str) -> str:
    return re.sub(r"[\s_-]+", " ", text.casefold()).strip()


def _known(places: tuple[int | None, ...]) -> int:
    return sum(place is not None for place in places)


def _list(keys: list[str] | tuple[str, ...]) -> str:
    rest = f", ... ({len(keys)} in all)" if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + rest
