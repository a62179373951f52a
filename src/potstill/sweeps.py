"""A recipe, or a paper's table, over a product of fields: each point distilled and evaluated, none of them twice."""

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from potstill.core.errors import PotstillError
from potstill.core.files import read_json, write_json
from potstill.core.lock import alone
from potstill.core.progress import OnStep, Step, silent
from potstill.core.settings import at, from_plain, to_plain
from potstill.data.real import RealData
from potstill.distilled import Manifest
from potstill.evaluation.record import Evaluation
from potstill.pipeline import distill_recipe, evaluate_recipe, recipe_data
from potstill.plans import JUDGING, ON_RECORD, Axes, Planned, named, plan
from potstill.recipes import Recipe
from potstill.recipes.study import Study
from potstill.run import Executor
from potstill.run.local import InProcess

FORMAT, FILE = 1, "sweep.json"


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
    def load(cls, folder: Path | str) -> "Sweep":
        """Reads FOLDER/sweep.json; raises PotstillError that names the file where it is missing or malformed."""
        file = Path(folder) / FILE
        return from_plain(cls, read_json(file), str(file))

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

    def seconds(self, folder: Path) -> dict[str, float]:
        """For each evaluated name what making a set took on average, read from the sweep's folder."""
        took: dict[str, list[float]] = {}
        for point in self.points:
            if point.evaluation:
                made = Manifest.load(folder / point.set).seconds
                took.setdefault(point.recipe["name"], []).append(made)
        return {name: statistics.mean(times) for name, times in took.items()}


def sweep(
    what: Recipe | Study,
    over: Axes,
    out: Path | str,
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
    root, planned = Path(out), plan(what, over, seeds=seeds, changes=changes or {})
    done: dict[int, Point] = {}

    def told(one: Planned, point: Point) -> None:
        done[id(one)] = point
        on_step(Step(stage="sweep", index=len(done), total=len(planned)))

    def unfinished(turn: Sequence[Planned]) -> Iterator[Planned]:
        for one in turn:
            if point := _finished(root, one.recipe, epochs):
                told(one, point)
            else:
                yield one

    ready = partial(Site, root.absolute(), epochs, device, batch)
    with alone(root), (on or InProcess()).crew(ready, device=device) as crew:
        for turn in _turns(planned):
            for one, point in crew.each(Site.make, unfinished(turn), on_step):
                _keep(root, point)
                told(one, point)
    return Sweep(points=tuple(done[id(one)] for one in planned))


def _turns(planned: Sequence[Planned]) -> list[list[Planned]]:
    """A plan in turns: points that share a folder are never made at the same time."""
    shared: dict[str, list[Planned]] = {}
    for one in planned:
        shared.setdefault(one.folder, []).append(one)
    return [[one for one in turn if one] for turn in itertools.zip_longest(*shared.values())]


def _place(point: Point, path: str) -> tuple[str, float] | None:
    try:
        x = at(point.recipe, path)
    except PotstillError:
        return None
    if isinstance(x, bool) or not isinstance(x, (int, float)):
        raise PotstillError(f"{path!r} is {x!r} at {point.recipe['name']!r}: an x axis needs numbers")
    return named(point.arm, {key: value for key, value in point.values.items() if key != path}), float(x)


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
    """The point of exactly these settings that was made before and whose evaluation, or set, is still there.

    A field of recipes that an older point does not name yet was None.
    """
    wanted = to_plain(recipe)
    for point in _held(out).points:
        file = out / (point.evaluation or f"{point.set}/metadata.jsonl")
        if {**dict.fromkeys(wanted), **point.recipe} == wanted and point.epochs == epochs and file.exists():
            return point
    return None


def _keep(out: Path, point: Point) -> None:
    """Adds a point to sweep.json; it takes the place of an earlier one with the same set and evaluation."""
    others = [one for one in _held(out).points if (one.set, one.evaluation) != (point.set, point.evaluation)]
    write_json(out / FILE, to_plain(Sweep(points=(*others, point))))


def _held(out: Path) -> Sweep:
    return Sweep.load(out) if (out / FILE).exists() else Sweep()
