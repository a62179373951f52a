"""A table or a line figure of a paper: which recipes, over which of their fields."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Over = Mapping[str, tuple[str, ...]]
"""Fields of a recipe by dotted path, and the values that each takes, written as for `--set`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One recipe by name, and the fields that are swept in it alone."""

    recipe: str
    over: Over = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What a table or figure shows: arms, and the fields swept in all of them. `source` says which one it repeats."""

    name: str
    source: str
    summary: str
    arms: tuple[Arm, ...]
    over: Over = field(default_factory=dict)
