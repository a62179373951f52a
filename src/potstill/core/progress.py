"""How long work tells what it is doing: a callback that gets one value a step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One finished step of a stage: `index` of `total` are done (1-based), with named numbers of the moment."""

    stage: str
    index: int
    total: int
    scalars: Mapping[str, float] = field(default_factory=dict)


OnStep = Callable[[Step], None]


def silent(step: Step) -> None:
    """The default listener, which does nothing."""
