"""A table of interchangeable parts, resolved on first use so that listing one imports nothing."""

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from potstill.core.errors import unknown


class Table(Mapping[str, Any]):
    """Names to parts, each written as "module:attribute" and imported when it is asked for.

    Raises PotstillError for a name that is not in the table, naming the nearest and all allowed ones.
    """

    def __init__(self, kind: str, parts: Mapping[str, str]) -> None:
        self.kind = kind
        self._parts = dict(parts)

    def __getitem__(self, name: str) -> Any:
        if name not in self._parts:
            raise unknown(self.kind, name, self._parts)
        module, attribute = self._parts[name].split(":")
        return getattr(importlib.import_module(module), attribute)

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)
