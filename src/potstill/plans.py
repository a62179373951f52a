"""What a sweep is going to make: every point of a product of fields, named and placed before any is made."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from potstill.core.errors import PotstillError
from potstill.core.settings import at, has, replace_at, to_plain
from potstill.distilled.folders import folder_name
from potstill.evaluation import PROTOCOLS
from potstill.nets.spec import Net
from potstill.recipes import RECIPES, Recipe
from potstill.recipes.study import Study

JUDGING = ("protocol", "student", "students", "teacher", "size")
"""Fields of a recipe that change its evaluation and not its set: points that differ in these alone share a set."""
ON_RECORD = ("images_per_class", "data", "classes")
"""Fields that every evaluation tells of itself, so that a point's name need not."""

Axes = Mapping[str, Sequence[Any]]
"""Fields of a recipe by dotted path, and the values each takes: text as for `--set`, or numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A point still to be made: the recipe's own name, the fields swept, the recipe with its name, the set's folder."""

    arm: str
    values: Mapping[str, Any]
    recipe: Recipe
    folder: str

    def __str__(self) -> str:
        return self.folder


def plan(
    what: Recipe | Study, over: Axes, *, seeds: int = 1, changes: Mapping[str, str] | None = None
) -> list[Planned]:
    """Every point of a sweep, seed by seed; raises PotstillError for what a recipe can't be changed to."""
    if seeds < 1:
        raise PotstillError(f"a sweep needs at least one seed, not {seeds}")
    for path, values in {**(changes or {}), **over}.items():
        if path in ("seed", "name", "summary") or (path == "students" and path in over and len(values) > 1):
            hint = {"seed": ": use --seeds", "students": ": name the largest number alone"}.get(path, "")
            raise PotstillError(f"{path!r} is not a field to sweep{hint}")
    arms = [(what, over)] if isinstance(what, Recipe) else _arms(what, over)
    planned: list[Planned] = []
    for fixed, axes in _changed(arms, changes or {}):
        for combination in _product(axes):
            one = _planned(fixed, combination)
            _ = PROTOCOLS[one.recipe.protocol], Net.parse(one.recipe.student)
            for name, least in (("images_per_class", 1), ("students", 0)):
                if (count := getattr(one.recipe, name)) < least:
                    raise PotstillError(f"{name} must be at least {least}, not {count}")
            if one not in planned:
                planned.append(one)
    return [
        replace(one, recipe=replace(one.recipe, seed=seed), folder=f"{one.folder}/seed{seed}")
        for seed in range(seeds)
        for one in planned
    ]


def _arms(study: Study, over: Axes) -> list[tuple[Recipe, Axes]]:
    return [(RECIPES[arm.recipe](), {**study.over, **arm.over, **over}) for arm in study.arms]


def _changed(arms: list[tuple[Recipe, Axes]], changes: Mapping[str, str]) -> list[tuple[Recipe, Axes]]:
    """The arms with fields set in those that have them; raises PotstillError for a field that none has."""
    for path, text in changes.items():
        having = [has(to_plain(recipe), path) for recipe, _ in arms]
        concerned = having if any(having) else [True] * len(arms)
        pairs = zip(arms, concerned, strict=True)
        arms = [(replace_at(arm[0], path, text) if meant else arm[0], arm[1]) for arm, meant in pairs]
    return arms


def _product(axes: Axes) -> Iterator[tuple[tuple[str, str], ...]]:
    """Every combination of the axes' values as text, fields in alphabetical order."""
    columns = []
    for path, values in sorted(axes.items()):
        if isinstance(values, str):
            raise PotstillError(f"the values of {path} must be a sequence, not the text {values!r}")
        if not values:
            raise PotstillError(f"--over {path} names no value")
        texts = [value if isinstance(value, str) else json.dumps(to_plain(value)) for value in values]
        columns.append([(path, text) for text in texts])
    return itertools.product(*columns)


def _planned(recipe: Recipe, combination: Sequence[tuple[str, str]]) -> Planned:
    changed = recipe
    for path, text in combination:
        changed = replace_at(changed, path, text)
    plain = to_plain(changed)
    values = {path: at(plain, path) for path, _ in combination}
    made = [f"{path}={_text(value)}" for path, value in values.items() if path not in JUDGING]
    return Planned(
        arm=recipe.name,
        values=values,
        recipe=replace(changed, name=named(recipe.name, values)),
        folder="/".join(folder_name(name) for name in (recipe.name, ",".join(made)) if name),
    )


def named(arm: str, values: Mapping[str, Any]) -> str:
    """An arm and the swept values that an evaluation doesn't tell itself, by the last part of their paths if it can."""
    told = {path: value for path, value in values.items() if path not in (*JUDGING, *ON_RECORD)}
    tails = [path.rsplit(".", 1)[-1] for path in told]
    parts = [
        f"{tail if tails.count(tail) == 1 else path}={_text(value)}"
        for (path, value), tail in zip(told.items(), tails, strict=True)
    ]
    return " ".join([arm, *parts])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
