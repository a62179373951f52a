"""Saved evaluations as a table that reads as plain text and as markdown."""

from collections.abc import Iterable, Sequence
from typing import Any

from potstill.core.errors import unknown
from potstill.core.settings import to_plain
from potstill.evaluation.record import Evaluation
from potstill.evaluation.statistics import LEAST_RESAMPLED, Difference
from potstill.report.compare import Comparison, Intervals, Row, Versus, compare, differences

ABSENT, P_VALUE, BEST = "-", "p (Holm)", "best look on test %"
HABIT = (
    f"\n{BEST}: of the looks that the protocol's source takes at the test images, each student's best; chosen on "
    "test, so only for comparison with papers that report it.\n"
)
BESIDE_REAL = {"gain": "above", "loss": "below", "no gain": "not told apart"}
MADE_BY: dict[Intervals, str] = {
    "t": "Student's t",
    "bootstrap": f"BCa bootstrap, from {LEAST_RESAMPLED} pairs on",
}


def table(evaluations: Iterable[Evaluation], baseline: str | None = None, intervals: Intervals = "t") -> str:
    """One table a protocol, in per cent, with differences from `baseline`.

    Columns: mean, sample deviation, n, 95 % interval of the mean, paired differences with theirs (`intervals`)
    and with p-values of paired t-tests that Holm's method corrects for the number of differences in a column; the
    best look at the test images where it was asked for, which says what it is.
    Rows: the baseline, then by name, random real images last; where there are such, the distance to them too. A
    changed protocol has a star and its changes in the caption. Raises PotstillError for a baseline that nobody
    has, and where two evaluations claim the same set.
    """
    evaluations = list(evaluations)
    names = sorted({one.name for one in evaluations})
    if baseline is not None and baseline not in names:
        raise unknown("baseline", baseline, names)
    text = "\n".join(_one(comparison, baseline, intervals) for comparison in compare(evaluations))
    return text + (_note(intervals) if P_VALUE in text else "") + (HABIT if BEST in text else "")


def listed(
    evaluations: Sequence[Evaluation], baseline: str, intervals: Intervals = "t"
) -> list[dict[str, Any]]:
    """What `table` shows, as plain values: each comparison with its rows, and its differences from `baseline` by name.

    Accuracies are fractions. There are no differences where the baseline has no row, and None where a row has no set in
    common with it.
    """
    found = []
    for comparison in compare(evaluations):
        base = next((row for row in comparison.rows if row.name == baseline), None)
        minus = differences(comparison.rows, base, intervals) if base else {}
        found.append(
            {
                **to_plain(comparison),
                "rows": [_plain_row(row) for row in comparison.rows],
                "baseline": baseline,
                "differences": {name: one and _plain_versus(one) for name, one in minus.items()},
            }
        )
    return found


def _plain_row(row: Row) -> dict[str, Any]:
    return {**to_plain(row), "mean": row.mean, "deviation": row.deviation, "interval": row.interval}


def _plain_versus(one: Versus) -> dict[str, Any]:
    told = to_plain(one.difference)
    return {**told, "unit": one.unit, "corrected": one.corrected, "verdict": one.verdict}


def _one(comparison: Comparison, baseline: str | None, intervals: Intervals) -> str:
    rows = sorted(comparison.rows, key=lambda row: (row.name != baseline, row.method == "random", row.name))
    head = ["name", "accuracy %", "sd", "n", "95 % interval"]
    columns = [
        [_cell(row.name) for row in rows],
        [f"{100 * row.mean:.1f}" for row in rows],
        [_points(row.deviation) for row in rows],
        [_counted(row) for row in rows],
        [_interval(*(row.interval or (None, None))) for row in rows],
    ]
    held = {row.name for row in rows}
    if any(row.best is not None for row in rows):
        head += [BEST]
        columns += [[ABSENT if row.best is None else f"{100 * row.best:.1f}" for row in rows]]
    reference = comparison.reference()
    if baseline in held and len(rows) > 1:
        base = comparison.row(str(baseline))
        told, found = _versus(rows, base, intervals)
        head += [f"minus {_cell(base.name)}", P_VALUE, "says"]
        columns += [*told, [_says(row, base, found.get(row.name)) for row in rows]]
    if reference is not None and reference.name != baseline and len(rows) > 1:
        told, _ = _versus(rows, reference, intervals)
        head += ["minus random real", P_VALUE]
        columns += told
    return f"{comparison.caption}\n\n{aligned(head, columns)}\n"


def _note(intervals: Intervals) -> str:
    return (
        f"\nIntervals of differences: 95 %, {MADE_BY[intervals]}. p: paired t-tests, corrected by Holm for the "
        "number of differences in the column; a gain or loss stands where p is at most 0.05 after that.\n"
    )


def _versus(
    rows: Sequence[Row], baseline: Row, intervals: Intervals
) -> tuple[list[list[str]], dict[str, Versus | None]]:
    """Two columns, differences and corrected p-values, and what they are written from."""
    found = differences(rows, baseline, intervals)
    told, p_values = [], []
    for row in rows:
        one = found.get(row.name)
        p_values.append(ABSENT if one is None or one.corrected is None else _p(one.corrected))
        if one is None:
            told.append(ABSENT if row.name == baseline.name else "no set in common")
        else:
            pairs = one.difference.n
            units = one.unit if pairs > 1 else one.unit.removesuffix("s")
            told.append(f"{_signed(one.difference)}, {pairs} {units}")
    return [told, p_values], found


def _says(row: Row, baseline: Row, found: Versus | None) -> str:
    if found is None:
        return ABSENT
    if "random" not in (row.method, baseline.method):
        return found.verdict
    word, before, rest = found.verdict.partition(" before")
    return BESIDE_REAL.get(word, word) + before + rest


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _signed(found: Difference) -> str:
    if found.low is None or found.high is None:
        return _gap(found.mean)
    return f"{_gap(found.mean)} [{_gap(found.low)}, {_gap(found.high)}]"


def _gap(value: float) -> str:
    return f"{round(100 * value, 1) + 0.0:+.1f}"


def _interval(low: float | None, high: float | None) -> str:
    return ABSENT if low is None or high is None else f"[{100 * low:.1f}, {100 * high:.1f}]"


def _points(value: float | None) -> str:
    return ABSENT if value is None else f"± {100 * value:.1f}"


def _counted(row: Row) -> str:
    per_set = row.runs / len(row.sets)
    students = f"{per_set:g}" if per_set == int(per_set) else f"{per_set:.1f}"
    many = "set" if len(row.sets) == 1 else "sets"
    return f"{len(row.sets)} {many} x {students}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def aligned(head: Sequence[str], columns: Sequence[Sequence[str]]) -> str:
    """A markdown table that reads as plain text: a title and equally many cells for each column."""
    widths = [
        max(len(text) for text in (title, *column)) for title, column in zip(head, columns, strict=True)
    ]
    left = [title in ("name", "says") for title in head]
    rule = [
        ("-" * width) if flush else "-" * (width - 1) + ":" for width, flush in zip(widths, left, strict=True)
    ]
    body = [list(line) for line in zip(*columns, strict=True)]
    lines = []
    for line in (list(head), rule, *body):
        padded = [
            text.ljust(width) if flush else text.rjust(width)
            for text, width, flush in zip(line, widths, left, strict=True)
        ]
        lines.append(f"| {' | '.join(padded)} |")
    return "\n".join(lines)
