"""The tables of the README, from the evaluations saved beside this file.

`python benchmarks/accuracy/summary.py` prints them; with `--into README.md` each replaces what stands between the
marks of its name there.
"""

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from digits import QUESTIONS
from matching import CANVASES, seen, unseen

from potstill.core.files import write_text
from potstill.evaluation.record import Evaluation, load_evaluations
from potstill.evaluation.statistics import deviation, mean
from potstill.nets.spec import Net
from potstill.report.compare import Comparison, Row, compare, differences

HERE = Path(__file__).parent
ABSENT = ""
COLUMNS = {
    "hard, 1": ("dc@1", "convnet-3-instance-w32", 1),
    "hard, 10": ("dc@1", "convnet-3-instance-w32", 10),
    "hard, 50": ("dc@1", "convnet-3-instance-w32", 50),
    "hard, 10, ResNet-18": ("dc@1", "resnet-18-small-instance-w16", 10),
    "soft, 1": ("rded@1", "convnet-3", 1),
    "soft, 10": ("rded@1", "convnet-3", 10),
}
"""Labels and images per class: protocol, student and images per class of `digits.py`."""
METHODS = {
    "random real images": "digits-random",
    "k-center": "digits-k-center",
    "herding": "digits-herding",
    "RDED": "digits-rded",
    "SRe2L": "digits-sre2l",
    "D4M": "digits-d4m",
    "DiT": "digits-dit-unguided",
    "DiT + concepts": "digits-dit-unguided-concord",
    "DiT + concepts until complete": "digits-dit-complete",
    "DiT, guided": "digits-dit",
    "DiT, guided + concepts": "digits-dit-concord",
    "unCLIP": "digits-unclip",
    "unCLIP + concepts": "digits-unclip-concord",
    "Minimax": "digits-minimax",
    "Minimax + concepts": "digits-minimax-concord",
}
MATCHED = ("dc", "dsa", "dm", "idm", "mtt")
PUBLISHED = {
    "random": {1: 14.4, 10: 26.0, 50: 43.4},
    "herding": {1: 21.5, 10: 31.6, 50: 40.4},
    "dm": {1: 26.0},
    "dc": {1: 28.3},
}
"""Per cent on CIFAR-10: DC (arXiv:2006.05929), table 1, and DM (arXiv:2110.04181), table 1."""


def main() -> None:
    """Prints the tables, or puts them into pages."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--into", type=Path, nargs="+", default=[])
    tables, pages = tabled(), options.parse_args().into
    if not pages:
        print("\n\n".join(tables.values()))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for name, table in tables.items():
            text = re.sub(
                f"(<!-- {name} -->\n).*?(<!-- end -->\n)", rf"\1\n{table}\n\n\2", text, flags=re.DOTALL
            )
        write_text(page, text)


def tabled() -> dict[str, str]:
    """Each table by its name."""
    judged = compare(_saved("digits/evaluations"))
    columns = [_found(judged, *cell) for cell in COLUMNS.values()]
    by_ipc = [f"{ipc}: published | {ipc}: ours" for ipc in (1, 10, 50)]
    return {
        "methods": _lines(["digits", *COLUMNS], _methods(columns)),
        "informed": _lines(["difference", *COLUMNS], _informed(columns)),
        "matched": _lines(["digits", *CANVASES], _matched()),
        "cifar10": _lines(["CIFAR-10", *by_ipc], _cifar10()),
    }


def _methods(columns: Sequence[Comparison | None]) -> Iterable[list[str]]:
    for title, name in METHODS.items():
        yield [title, *(_cell(_row(column, name)) for column in columns)]


def _informed(columns: Sequence[Comparison | None]) -> Iterable[list[str]]:
    titles = {name: title for title, name in METHODS.items()}
    for baseline, arms in QUESTIONS.items():
        for arm in arms:
            if arm != "digits-minimax-concord" or baseline == "digits-minimax":
                cells = [_difference(column, baseline, arm) for column in columns]
                yield [f"{titles[arm]} − {titles[baseline]}", *cells]


def _difference(column: Comparison | None, baseline: str, arm: str) -> str:
    """A paired difference as the digits' page has it, corrected for the same number of others."""
    base = _row(column, baseline)
    asked = [_row(column, name) for name in (*QUESTIONS[baseline], "digits-random")]
    found = differences([row for row in asked if row], base).get(arm) if base else None
    if found is None or found.difference.low is None or found.difference.high is None:
        return ABSENT
    parts = (found.difference.mean, found.difference.low, found.difference.high)
    told = "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(round(100 * part, 1) + 0.0 for part in parts))
    return f"**{told} {found.verdict}**" if found.verdict in ("gain", "loss") else told


def _matched() -> Iterable[list[str]]:
    """Sets' mean and deviation on the net that they are made with, and the mean over nets that they never saw."""
    saved = _saved("matching/evaluations")
    for ipc in (1, 10):
        reached = [one for one in saved if (one.ipc, one.protocol) == (ipc, "dc@1")]
        images = f"{ipc} image{'s' * (ipc > 1)}"
        empty = [ABSENT] * (len(CANVASES) - 1)
        yield [f"random real, {images}", _on_nets(reached, "digits-random"), *empty]
        for objective in MATCHED:
            arms = [f"digits-{objective}{ending}" for ending in CANVASES.values()]
            yield [f"{objective.upper()}, {images}", *(_on_nets(reached, arm) for arm in arms)]


def _on_nets(reached: Sequence[Evaluation], arm: str) -> str:
    own, others = list(seen(reached, arm).values()), list(unseen(reached, arm).values())
    if not own:
        return ABSENT
    spread = deviation(own)
    told = f"{100 * mean(own):.1f}" + (f" ± {100 * spread:.1f}" if spread is not None else "")
    return told + (f" / {100 * mean(others):.1f}" if others else "") + f" ({len(own)})"


def _cifar10() -> Iterable[list[str]]:
    judged = compare([*_saved("cifar10"), *_saved("cifar10_matching", "*.evaluation.json")])
    for name in (*PUBLISHED, "k-center"):
        cells = []
        for ipc in (1, 10, 50):
            rows = [row for one in judged if one.ipc == ipc for row in one.rows]
            ours = next((row for row in rows if row.name.removeprefix("cifar10-") == name), None)
            cells.append(f"{PUBLISHED.get(name, {}).get(ipc, ABSENT)} | {_cell(ours)}")
        yield [name, *cells]


def _saved(folder: str, files: str = "*.json") -> list[Evaluation]:
    return load_evaluations(sorted((HERE / folder).glob(files)))


def _found(judged: Iterable[Comparison], protocol: str, student: str, ipc: int) -> Comparison | None:
    known = protocol, Net.parse(student).label, ipc
    return next((one for one in judged if (one.protocol, one.student, one.ipc) == known), None)


def _row(column: Comparison | None, name: str) -> Row | None:
    return next((row for row in column.rows if row.name == name), None) if column else None


def _cell(row: Row | None) -> str:
    if row is None:
        return ABSENT
    spread = "" if row.deviation is None else f" ± {100 * row.deviation:.1f}"
    return f"{100 * row.mean:.1f}{spread} ({len(row.sets)})"


def _lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    titles = " | ".join(head)
    rule = "|".join(["---", *["--:"] * titles.count("|")])
    return "\n".join([f"| {titles} |", f"|{rule}|", *(f"| {' | '.join(row)} |" for row in rows)])


if __name__ == "__main__":
    main()
