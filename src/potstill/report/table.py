"""Saved evaluations as a table that reads as plain text and as markdown."""

from collections.abc import Sequence

from potstill.core.errors import unknown
from potstill.evaluation.record import Evaluation
from potstill.evaluation.statistics import Difference
from potstill.report.compare import Comparison, Row, compare, versus

ABSENT = "-"
BESIDE_REAL = {"gain": "above", "loss": "below", "no gain": "not told apart", "undecided": "undecided"}


def table(evaluations: Sequence[Evaluation], baseline: str | None = None) -> str:
    """One table a protocol, in per cent, with differences from `baseline`.

    Columns: mean, sample deviation, n, 95 % interval of the mean, paired differences with theirs. Rows: the
    baseline, then by name, random real images last; where there are such, the distance to them too. A changed
    protocol has a star and its changes in the caption. Raises PotstillError for a baseline that nobody has,
    and where two evaluations claim the same set.
    """
    names = sorted({one.name for one in evaluations})
    if baseline is not None and baseline not in names:
        raise unknown("baseline", baseline, names)
    return "\n".join(_one(comparison, baseline) for comparison in compare(evaluations))


def _one(comparison: Comparison, baseline: str | None) -> str:
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
    reference = comparison.reference()
    if baseline in held and len(rows) > 1:
        found = _versus(rows, comparison.row(str(baseline)))
        head += [f"minus {_cell(str(baseline))}", "says"]
        columns += [[told for told, _ in found], [word for _, word in found]]
    if reference is not None and reference.name != baseline and len(rows) > 1:
        head.append("minus random real")
        columns.append([told for told, _ in _versus(rows, reference)])
    return f"{comparison.caption}\n\n{_aligned(head, columns)}\n"


def _versus(rows: Sequence[Row], baseline: Row) -> list[tuple[str, str]]:
    told = []
    for row in rows:
        found = None if row.name == baseline.name else versus(row, baseline)
        if found is not None:
            real = "random" in (row.method, baseline.method)
            word = BESIDE_REAL[found.verdict] if real else found.verdict
            pairs = found.difference.n
            units = found.unit if pairs > 1 else found.unit.removesuffix("s")
            told.append((f"{_signed(found.difference)}, {pairs} {units}", word))
        else:
            told.append((ABSENT if row.name == baseline.name else "no set in common", ABSENT))
    return told


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


def _aligned(head: Sequence[str], columns: Sequence[Sequence[str]]) -> str:
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
