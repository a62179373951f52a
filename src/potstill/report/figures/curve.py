"""Accuracy against a number: images per class, weight, negatives, steps, or any other field."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.container import Container
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from potstill.core.errors import PotstillError
from potstill.evaluation.record import Evaluation
from potstill.evaluation.statistics import accuracy_interval, mean
from potstill.report.compare import Comparison, compare
from potstill.report.figures.style import FAINT, INK, legend, note, plain, sheet, tones

SHARED = ("data", "protocol", "student", "teacher", "settings")
"""What may differ between two evaluations of one name, and is then told in the line's label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One mark: the accuracies, fractions, that are counted there, one for each of so many "sets" or "students"."""

    line: str
    x: float
    values: tuple[float, ...]
    unit: str = "sets"


@dataclass(frozen=True, slots=True)
class Reference:
    """A level to compare with, such as the full data: its accuracies, fractions."""

    label: str
    values: tuple[float, ...]


def points(
    evaluations: Iterable[Evaluation], places: Mapping[str, tuple[str, float]] | None = None
) -> list[Point]:
    """Saved evaluations as marks: `places` says for each name its line and its x; by default name and images per class.

    Several sets of one name, protocol and student are one mark, as in `compare`; a lone set counts its students. What
    else differs (student, protocol, data, images per class) is told in the lines' labels.
    """
    comparisons = compare(evaluations)
    told = [name for name in SHARED if len({str(getattr(one, name)) for one in comparisons}) > 1]
    several = places is not None and len({one.ipc for one in comparisons}) > 1
    found = []
    for comparison in comparisons:
        for row in comparison.rows:
            line, x = places[row.name] if places is not None else (row.name, comparison.ipc)
            label = ", ".join([line, *_told(comparison, told, several)])
            found.append(Point(line=label, x=float(x), values=row.values, unit=row.unit))
    return found


def _told(comparison: Comparison, names: Sequence[str], images: bool) -> list[str]:
    parts = []
    for name in names:
        value = getattr(comparison, name)
        if name == "settings":
            parts += [f"{path}={changed}" for path, changed in value.items()]
        elif value is not None:
            parts.append(str(value))
    return parts + ([f"{comparison.ipc} per class"] if images else [])


def curve(
    points: Sequence[Point],
    *,
    title: str,
    x_label: str,
    references: Sequence[Reference] = (),
) -> Figure:
    """Mean accuracy, in per cent, with its 95 % interval, against x; a line a name, n in the small print or the key.

    x is logarithmic where it is positive and spans a factor of 8. Raises PotstillError for no points, for two points
    of a line at one x, and for more lines than can be told apart.
    """
    if not points:
        raise PotstillError("there is nothing to draw: no evaluation was given")
    lines = _lines(points)
    figure, axes = sheet(title, 7.6, 4.2)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    counts = {name: _count(own) for name, own in lines.items()}
    alike = len(set(counts.values())) == 1
    key: list[tuple[object, str]] = []
    places = sorted({point.x for point in points})
    looks = tones(len(lines), "lines")
    for place, ((name, own), look) in enumerate(zip(lines.items(), looks, strict=True)):
        xs = _apart([point.x for point in own], places, place - (len(lines) - 1) / 2)
        key.append((_draw(axes, xs, own, *look), name if alike else f"{name} ({counts[name]})"))
    key += [(_level(axes, reference, place), reference.label) for place, reference in enumerate(references)]
    _scale(axes, places)
    axes.set_xlabel(plain(x_label), color=INK, fontsize=10, parse_math=False)
    axes.set_ylabel("test accuracy, %", color=INK, fontsize=10)
    legend(axes, key)
    counted = f", {next(iter(counts.values()))}" if alike else ""
    apart = "; lines stand a little apart" if len(lines) > 1 else ""
    note(figure, f"Marks: means{counted}{apart}. Bars: 95 % interval of the mean (Student's t).")
    return figure


def _lines(points: Sequence[Point]) -> dict[str, list[Point]]:
    """The lines by name, each from left to right; the one that ends highest first."""
    lines: dict[str, list[Point]] = {}
    for point in sorted(points, key=lambda one: one.x):
        own = lines.setdefault(point.line, [])
        if own and own[-1].x == point.x:
            raise PotstillError(
                f"two points of {point.line!r} lie at {point.x:g}: they differ in what isn't drawn"
            )
        own.append(point)
    return dict(sorted(lines.items(), key=lambda item: (-mean(item[1][-1].values), item[0])))


def _logarithmic(places: Sequence[float]) -> bool:
    return places[0] > 0 and places[-1] / places[0] >= 8


def _apart(xs: Sequence[float], places: Sequence[float], steps: float) -> list[float]:
    """The xs of a line moved by so many hundredths of the axis, so that the bars of two lines don't hide each other."""
    if _logarithmic(places):
        return [x * (places[-1] / places[0]) ** (0.008 * steps) for x in xs]
    return [x + (places[-1] - places[0]) * 0.008 * steps for x in xs]


def _draw(axes: Axes, xs: Sequence[float], own: Sequence[Point], tone: str, shape: str) -> Container:
    centres = [mean(point.values) for point in own]
    reach = [
        accuracy_interval(point.values) or (centre, centre)
        for point, centre in zip(own, centres, strict=True)
    ]
    below = [100 * (centre - low) for centre, (low, _) in zip(centres, reach, strict=True)]
    above = [100 * (high - centre) for centre, (_, high) in zip(centres, reach, strict=True)]
    return axes.errorbar(
        xs,
        [100 * centre for centre in centres],
        yerr=(below, above),
        color=tone,
        marker=shape,
        markersize=6,
        linewidth=1.8,
        elinewidth=1.2,
        capsize=2.5,
    )


def _level(axes: Axes, reference: Reference, place: int) -> Line2D:
    reach = accuracy_interval(reference.values)
    if reach is not None:
        axes.axhspan(100 * reach[0], 100 * reach[1], color=INK, alpha=0.15, linewidth=0)
    dashes = ("--", ":", "-.")[place % 3]
    return axes.axhline(100 * mean(reference.values), color=INK, linestyle=dashes, linewidth=1.4)


def _scale(axes: Axes, places: Sequence[float]) -> None:
    if _logarithmic(places):
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.06)
    if len(places) <= 10:
        axes.set_xticks(places, [f"{place:g}" for place in places])


def _count(own: Sequence[Point]) -> str:
    units = sorted({point.unit for point in own})
    numbers = [len(point.values) for point in own]
    low, high = min(numbers), max(numbers)
    unit = units[0].removesuffix("s") if high == 1 and len(units) == 1 else " or ".join(units)
    return f"n = {low} {unit}" if low == high else f"n = {low} to {high} {unit}"
