"""Everything a page shows, as one JSON value; accuracies are still fractions."""

from collections.abc import Mapping, Sequence
from typing import Any

from potstill.evaluation.record import Evaluation
from potstill.report.compare import Comparison, Row, Versus, compare, differences
from potstill.report.images import data_uri
from potstill.report.read import Arm, Picture, labels, without_shared_words
from potstill.report.scores import complete, real_range, share_complete

MOST_IMAGES = 3000


def payload(
    arms: Sequence[Arm],
    evaluations: Sequence[Evaluation],
    *,
    title: str,
    notes: Sequence[str],
    baseline: str | None,
) -> dict[str, Any]:
    """The page's content; `baseline` is the name that differences are first shown against."""
    comparisons = compare(evaluations)
    keys = list(dict.fromkeys(key for arm in arms for key in arm.facts.classes["keys"]))
    columns = max((arm.facts.images_per_class for arm in arms), default=0)
    shown_columns = min(columns, max(1, MOST_IMAGES // max(1, len(arms) * len(keys))))
    shown_keys = keys[: max(1, MOST_IMAGES // max(1, len(arms) * shown_columns))]
    names = list(dict.fromkeys([arm.facts.name for arm in arms] + _evaluated(comparisons)))
    return {
        "title": title,
        "notes": list(notes),
        "names": names,
        "baseline": baseline,
        "classes": _classes(arms, shown_keys),
        "allClasses": len(keys),
        "columns": shown_columns,
        "allColumns": columns,
        "exactMeans": all(arm.facts.real_means for arm in arms if arm.facts.real_scores),
        "summary": [_summary(name, arms, comparisons) for name in names],
        "arms": [
            _arm(arm, label, names.index(arm.facts.name), shown_keys, shown_columns)
            for arm, label in zip(arms, labels(arms), strict=True)
        ],
        "comparisons": [_comparison(comparison, names) for comparison in comparisons],
    }


def _evaluated(comparisons: Sequence[Comparison]) -> list[str]:
    return sorted({row.name for comparison in comparisons for row in comparison.rows})


def _classes(arms: Sequence[Arm], keys: Sequence[str]) -> list[dict[str, str]]:
    names = [next(arm.facts.name_of(key) for arm in arms if key in arm.facts.classes["keys"]) for key in keys]
    short = without_shared_words(names)
    return [
        {"key": key, "name": name, "short": brief}
        for key, name, brief in zip(keys, names, short, strict=True)
    ]


def _summary(name: str, arms: Sequence[Arm], comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """What is known of all sets and evaluations of one name."""
    own = [arm for arm in arms if arm.facts.name == name]
    times = [arm.facts.seconds_per_image for arm in own if arm.facts.seconds_per_image is not None]
    methods = [arm.facts.kind for arm in own]
    methods += [row.method for comparison in comparisons for row in comparison.rows if row.name == name]
    return {
        "name": name,
        "random": "random" in methods,
        "complete": share_complete(own),
        "secondsPerImage": sum(times) / len(times) if times else None,
        "devices": sorted({arm.facts.device for arm in own if arm.facts.device}),
    }


def _arm(arm: Arm, label: str, name: int, keys: Sequence[str], columns: int) -> dict[str, Any]:
    facts = arm.facts
    shown: list[list[dict[str, Any]]] = [[] for _ in keys]
    means: list[list[float | None]] = [[] for _ in keys]
    places = {key: place for place, key in enumerate(keys)}
    for picture in arm.pictures:
        if picture.key in places:
            means[places[picture.key]].append(_rounded(picture.mean))
            if picture.index < columns:
                shown[places[picture.key]].append(_picture(arm, picture))
    return {
        "label": label,
        "name": name,
        "kind": facts.kind,
        "seed": facts.seed,
        "images": shown,
        "means": means,
        "bands": [real_range(facts, key) for key in keys],
        "ranges": [facts.real_scores.get(key, {}) for key in keys],
        "spread": [facts.spread.get(key) for key in keys],
        "realSpread": [facts.real_spread.get(key) for key in keys],
        "settings": _settings(arm),
        "data": dict(facts.data),
        "count": len(arm.pictures),
        "seconds": facts.seconds,
        "secondsPerImage": facts.seconds_per_image,
        "memory": facts.peak_memory_gib,
        "device": facts.device,
        "versions": dict(facts.versions),
        "weights": [[one.get("name", ""), one.get("sha256", "")] for one in facts.weights],
    }


def _picture(arm: Arm, picture: Picture) -> dict[str, Any]:
    source, width = data_uri(arm.file(picture))
    return {
        "src": source,
        "px": width,
        "index": picture.index,
        "seed": arm.facts.seed if picture.seed is None else picture.seed,
        "concepts": picture.concepts,
        "scores": picture.scores,
        "mean": _rounded(picture.mean),
        "complete": complete(arm.facts, picture),
        "negatives": [[arm.facts.name_of(one.key), one.phrase] for one in picture.negatives],
        "contrast": picture.contrast,
        "teacher": picture.teacher,
        "source": picture.source,
    }


def _settings(arm: Arm) -> dict[str, Any]:
    facts = arm.facts
    fixed = {"images per class": facts.images_per_class, "image size, px": facts.size, "seed": facts.seed}
    return {**flat(facts.method), **fixed}


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Nested settings as one line a leaf: {"terms": [{"weight": 1}]} to {"terms.0.weight": 1}."""
    if isinstance(value, Mapping) and value:
        items = list(value.items())
    elif isinstance(value, (list, tuple)) and any(isinstance(item, (Mapping, list, tuple)) for item in value):
        items = list(enumerate(value))
    else:
        return {path: value}
    found: dict[str, Any] = {}
    for name, item in items:
        found |= flat(item, f"{path}.{name}" if path else str(name))
    return found


def _comparison(comparison: Comparison, names: Sequence[str]) -> dict[str, Any]:
    reference = comparison.reference()
    rows = sorted(comparison.rows, key=lambda row: names.index(row.name))
    return {
        "caption": comparison.caption,
        "data": comparison.data,
        "ipc": comparison.ipc,
        "protocol": comparison.protocol,
        "student": comparison.student,
        "teacher": comparison.teacher,
        "changed": bool(comparison.settings),
        "random": reference.name if reference else None,
        "rows": [_row(row) for row in rows],
        "differences": {
            base.name: {name: _versus(found) for name, found in differences(rows, base).items()}
            for base in rows
        },
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "mean": row.mean,
        "deviation": row.deviation,
        "interval": row.interval,
        "unit": row.unit,
        "values": row.values,
        "sets": len(row.sets),
        "students": row.runs / len(row.sets),
    }


def _versus(found: Versus | None) -> dict[str, Any] | None:
    if found is None:
        return None
    pairs = found.difference
    return {
        "mean": pairs.mean,
        "low": pairs.low,
        "high": pairs.high,
        "n": pairs.n,
        "unit": found.unit,
        "corrected": found.corrected,
        "verdict": found.verdict,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)
