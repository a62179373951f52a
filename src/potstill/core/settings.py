"""Frozen dataclasses to plain JSON values and back, strictly."""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from potstill.core.errors import PotstillError, unknown

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """A dataclass, mapping, sequence or scalar as JSON values; dataclasses become objects of their fields."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{type(value).__name__} has no plain form: {value!r}")


def from_plain(kind: type[T], plain: Any, where: str) -> T:
    """Builds a dataclass from plain values; `where` (a file or option) is named in every error.

    Raises PotstillError for an unknown or missing field and for a value of the wrong type.
    """
    if not isinstance(plain, Mapping):
        raise PotstillError(f"{where}: expected an object for {kind.__name__}, found {plain!r}")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, kind))}
    for name in plain:
        if name not in fields:
            raise unknown(f"{kind.__name__} setting", name, fields, where)
    required = dataclasses.MISSING
    missing = [
        name
        for name, field in fields.items()
        if name not in plain and field.default is required and field.default_factory is required
    ]
    if missing:
        raise PotstillError(f"{where}: {kind.__name__} lacks {', '.join(missing)}")
    values = {name: _convert(hints[name], item, f"{where}: {name}") for name, item in plain.items()}
    try:
        return kind(**values)
    except PotstillError as error:
        raise PotstillError(f"{where}: {error}") from None


def _convert(hint: Any, item: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return item
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast(type, hint), item, where)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, item, where)
    if origin is typing.Literal:
        if item not in arguments:
            raise unknown("value", item, arguments, where)
        return item
    if origin is tuple and isinstance(item, (list, tuple)):
        kinds = [arguments[0]] * len(item) if arguments[-1] is Ellipsis else arguments
        if len(kinds) != len(item):
            raise PotstillError(f"{where}: expected {len(kinds)} values, found {len(item)}")
        return tuple(_convert(kind, value, where) for kind, value in zip(kinds, item, strict=True))
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(item, Mapping):
        return {key: _convert(arguments[1], value, f"{where}: {key}") for key, value in item.items()}
    if hint is float and isinstance(item, int) and not isinstance(item, bool):
        return float(item)
    checked = isinstance(hint, type) and not getattr(hint, "_is_protocol", False)
    if checked and isinstance(item, hint) and not (hint is int and isinstance(item, bool)):
        return item
    raise PotstillError(f"{where}: expected {getattr(hint, '__name__', hint)}, found {item!r}")


def _convert_union(arguments: tuple[Any, ...], item: Any, where: str) -> Any:
    """Among dataclasses that have a `kind` that decides; a kind alone stands for its usual settings."""
    if item is None and type(None) in arguments:
        return None
    kinds = [argument for argument in arguments if argument is not type(None)]
    named = {getattr(kind, "__dataclass_fields__", {}).get("kind"): kind for kind in kinds}
    by_kind = {field.default: kind for field, kind in named.items() if field is not None}
    if isinstance(item, str) and len(by_kind) == len(kinds):
        item = {"kind": item}
    if isinstance(item, Mapping) and "kind" in item:
        if not isinstance(item["kind"], str) or item["kind"] not in by_kind:
            raise unknown("kind", item["kind"], by_kind, where)
        return from_plain(by_kind[item["kind"]], item, where)
    failures = []
    for kind in kinds:
        try:
            return _convert(kind, item, where)
        except PotstillError as error:
            failures.append(error)
    raise failures[-1]


def replace_at(value: Any, path: str, text: str) -> Any:
    """A copy of nested settings with one field changed, for example "method.terms.0.pace.weight" to "2".

    `text` is read as JSON where it is JSON, else as a string. Raises PotstillError that names the path and what
    stands at each level.
    """
    return _replaced(value, path, text, f"--set {path}")


def _replaced(value: Any, path: str, text: str, where: str) -> Any:
    head, _, rest = path.partition(".")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        if head not in names:
            raise unknown(f"{type(value).__name__} setting", head, names, where)
        if rest:
            return dataclasses.replace(value, **{head: _replaced(getattr(value, head), rest, text, where)})
        hint = typing.get_type_hints(type(value))[head]
        return dataclasses.replace(value, **{head: _convert(hint, read_value(text), where)})
    if isinstance(value, tuple) and value:
        if not head.isdigit() or int(head) >= len(value):
            raise unknown("position", head, range(len(value)), where)
        if not rest:
            raise PotstillError(f"{where}: name a field of {type(value[int(head)]).__name__}")
        place = int(head)
        return (*value[:place], _replaced(value[place], rest, text, where), *value[place + 1 :])
    raise PotstillError(f"{where}: there is nothing inside {value!r}")


def require_allowed(settings: Any) -> None:
    """Raises PotstillError where a field that names its values holds another, whoever built the settings."""
    for name, hint in typing.get_type_hints(type(settings)).items():
        if typing.get_origin(hint) is typing.Literal and (
            value := getattr(settings, name)
        ) not in typing.get_args(hint):
            raise unknown(f"{type(settings).__name__} {name}", value, typing.get_args(hint))


def at(plain: Any, path: str) -> Any:
    """The value at a dotted path of plain settings; raises PotstillError where there is none."""
    value = plain
    for head in path.split("."):
        items = enumerate(value if isinstance(value, (list, tuple)) else ())
        inside = value if isinstance(value, Mapping) else {str(place): item for place, item in items}
        if head not in inside:
            raise PotstillError(f"there is no {head!r} of {path!r} in these settings")
        value = inside[head]
    return value


def has(plain: Any, path: str) -> bool:
    """Whether there is a value at a dotted path of plain settings."""
    try:
        at(plain, path)
    except PotstillError:
        return False
    return True


def read_value(text: str) -> Any:
    """A value written on a command line: JSON where it is JSON, else the text itself.

    Raises PotstillError for numbers that are not finite.
    """

    def finite(number: str) -> float:
        if not math.isfinite(float(number)):
            raise PotstillError(f"a setting takes finite numbers, not {number} as in {text!r}")
        return float(number)

    try:
        return json.loads(text, parse_constant=finite, parse_float=finite)
    except json.JSONDecodeError:
        return text
