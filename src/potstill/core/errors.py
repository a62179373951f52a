"""The one error that is meant for a user's eyes."""

import difflib
from collections.abc import Iterable


class PotstillError(Exception):
    """A problem the user can fix; its message names the value, what is allowed and, where there is one, the file."""


def unknown(kind: str, value: object, allowed: Iterable[object], where: str = "") -> PotstillError:
    """The error for a name that is not in a list: it names the value, the nearest allowed one and all of them."""
    names = [str(name) for name in allowed]
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    place = f" in {where}" if where else ""
    return PotstillError(
        f"unknown {kind} {str(value)!r}{place}.{hint} Allowed: {', '.join(names) or 'none'}."
    )
