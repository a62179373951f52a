"""A recipe, or a paper's table, over a product of fields: each point distilled and evaluated, none of them twice."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from potstill.core.errors import PotstillError
from potstill.core.files import read_json, write_json
from potstill.core.lock import alone
from potstill.core.progress import OnStep, Step, silent
from potstill.core.settings import at, from_plain, has, replace_at, to_plain
from potstill.data.real import RealData
from potstill.distilled.folders import folder_name
from potstill.evaluation import PROTOCOLS
from potstill.evaluation.record import Evaluation
from potstill.nets.spec import Net
from potstill.pipeline import distill_recipe, evaluate_recipe, recipe_data
from potstill.recipes import RECIPES, Recipe
from potstill.recipes.study import Study
from potstill.run import Executor
from potstill.run.local import InProcess

FORMAT, FILE = 1, "sweep.json"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A finished point, as sweep.json lists it; paths are relative to the sweep's folder.

    `recipe` holds every setting; `epochs` what the protocol was scaled down to; `evaluation` is None where no
    student was asked for.
    """

    arm: str
    values: Mapping[str, Any]
    recipe: Mapping[str, Any]
    epochs: int | None
    set: str
    evaluation: str | None

    def at(self, path: str) -> Any:
        """The value of any field of the recipe, swept or not, by its dotted path."""
        return at(self.recipe, path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """The contents of sweep.json: the points finished so far, in the order they were asked for or, there, finished."""

    format: int = FORMAT
    points: tuple[Point, ...] = field(default_factory=tuple)

    @classmethod
    def load(cls, folder: Path) -> "Sweep":
        """Reads FOLDER/sweep.json; raises PotstillError that names the file where it is missing or malformed."""
        return from_plain(cls, read_json(folder / FILE), str(folder / FILE))

    def evaluations(self, folder: Path) -> list[Evaluation]:
        """The points' evaluations, read from the sweep's folder."""
        return [Evaluation.load(folder / point.evaluation) for point in self.points if point.evaluation]

    def places(self, path: str) -> dict[str, tuple[str, float] | None]:
        """For each evaluated name its line and its x where the field `path` is drawn along x; None where it has none.

        A line is an arm and what else was swept. Raises PotstillError for a field that decides no set or is no number.
        """
        if path in (*JUDGING, *ON_RECORD):
            raise PotstillError(f"{path!r} can't be an x axis here: it is told apart in the lines' names")
        return {point.recipe["name"]: _place(point, path) for point in self.points if point.evaluation}


def sweep(
    what: Recipe | Study,
    over: Axes,
    out: Path,
    *,
    seeds: int = 1,
    changes: Mapping[str, str] | None = None,
    epochs: int | None = None,
    device: str = "cpu",
    batch: int = 64,
    on: Executor | None = None,
    on_step: OnStep = silent,
) -> Sweep:
    """Distills and evaluates every point of the product of `over`, with set seeds 0 to `seeds` - 1, below `out`.

    `over` adds to the fields that a study sweeps, or takes their place; `changes` set fields in all points that
    have them. A point's folder follows from the recipe's name and the fields swept, whatever order they come in. What
    is finished is read, and more values or seeds add to it; `out`/sweep.json lists every point made so far. Students
    of 0 make sets alone.
    `on` are the processes that make points (None: this one), each of which must see `out`. Raises PotstillError before
    anything is made for unknown fields and values, and an `out` that is being filled.
    """
    planned = plan(what, over, seeds=seeds, changes=changes or {})
    done: dict[int, Point] = {}

    def told(one: Planned, point: Point) -> None:
        done[id(one)] = point
        on_step(Step(stage="sweep", index=len(done), total=len(planned)))

    def unfinished(turn: Sequence[Planned]) -> Iterator[Planned]:
        for one in turn:
            if point := _finished(out, one.recipe, epochs):
                told(one, point)
            else:
                yield one

    ready = partial(Site, out.absolute(), epochs, device, batch)
    with alone(out), (on or InProcess()).crew(ready, device=device) as crew:
        for turn in _turns(planned):
            for one, point in crew.each(Site.make, unfinished(turn), on_step):
                _keep(out, point)
                told(one, point)
    return Sweep(points=tuple(done[id(one)] for one in planned))


def _turns(planned: Sequence[Planned]) -> list[list[Planned]]:
    """A plan in turns: points that share a folder are never made at the same time."""
    shared: dict[str, list[Planned]] = {}
    for one in planned:
        shared.setdefault(one.folder, []).append(one)
    return [[one for one in turn if one] for turn in itertools.zip_longest(*shared.values())]


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


def _place(point: Point, path: str) -> tuple[str, float] | None:
    try:
        x = at(point.recipe, path)
    except PotstillError:
        return None
    if isinstance(x, bool) or not isinstance(x, (int, float)):
        raise PotstillError(f"{path!r} is {x!r} at {point.recipe['name']!r}: an x axis needs numbers")
    return _named(point.arm, {key: value for key, value in point.values.items() if key != path}), float(x)


def _arms(study: Study, over: Axes) -> list[tuple[Recipe, Axes]]:
    return [(RECIPES[arm.recipe](), {**study.over, **arm.over, **over}) for arm in study.arms]


def _changed(arms: list[tuple[Recipe, Axes]], changes: Mapping[str, str]) -> list[tuple[Recipe, Axes]]:
    """The arms with fields set in those that have them; raises PotstillError for a field that none has."""
    for path, text in changes.items():
        having = [has(to_plain(recipe), path) for recipe, _ in arms]
        here = having if any(having) else [True] * len(arms)
        pairs = zip(arms, here, strict=True)
        arms = [(replace_at(arm[0], path, text) if has else arm[0], arm[1]) for arm, has in pairs]
    return arms


def _product(axes: Axes) -> Iterator[tuple[tuple[str, str], ...]]:
    """Every combination of the axes' values as text, fields in alphabetical order."""
    columns = []
    for path, values in sorted(axes.items()):
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
        recipe=replace(changed, name=_named(recipe.name, values)),
        folder="/".join(folder_name(name) for name in (recipe.name, ",".join(made)) if name),
    )


def _named(arm: str, values: Mapping[str, Any]) -> str:
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


@dataclass(slots=True)
class Site:
    """Where points are made; the data of the last one are kept for the next."""

    out: Path
    epochs: int | None
    device: str
    batch: int
    loaded: dict[tuple[str, str | None], RealData] = field(default_factory=dict)

    def make(self, one: Planned, on_step: OnStep) -> Point:
        """Distills and evaluates a point."""
        recipe, folder, place = one.recipe, self.out / one.folder, (one.recipe.data, one.recipe.classes)
        if place not in self.loaded:
            self.loaded = {place: recipe_data(recipe)}
        real, told = self.loaded[place], {"device": self.device, "on_step": on_step}
        distill_recipe(recipe, folder, real=real, batch=self.batch, **told)
        judged = (
            evaluate_recipe(recipe, folder, real, epochs=self.epochs, **told) if recipe.students else None
        )
        file = judged and _file_of(judged, folder)
        return Point(
            arm=one.arm,
            values=one.values,
            recipe=to_plain(recipe),
            epochs=self.epochs,
            set=one.folder,
            evaluation=file and file.relative_to(self.out).as_posix(),
        )


def _file_of(evaluation: Evaluation, folder: Path) -> Path:
    held = {file: Evaluation.load(file) for file in sorted((folder / "evaluations").glob("*.json"))}
    same = (file for file, one in held.items() if replace(one, runs=evaluation.runs) == evaluation)
    return next(file for file in same if set(evaluation.runs) <= set(held[file].runs))


def _finished(out: Path, recipe: Recipe, epochs: int | None) -> Point | None:
    """The point of exactly these settings that was made before and whose evaluation, or set, is still there."""
    wanted = to_plain(recipe)
    for point in _held(out).points:
        file = out / (point.evaluation or f"{point.set}/metadata.jsonl")
        if point.recipe == wanted and point.epochs == epochs and file.exists():
            return point
    return None


def _keep(out: Path, point: Point) -> None:
    """Adds a point to sweep.json; it takes the place of an earlier one with the same set and evaluation."""
    others = [one for one in _held(out).points if (one.set, one.evaluation) != (point.set, point.evaluation)]
    write_json(out / FILE, to_plain(Sweep(points=(*others, point))))


def _held(out: Path) -> Sweep:
    return Sweep.load(out) if (out / FILE).exists() else Sweep()
