"""The faults of docs/reliability.md, injected and counted.

`python benchmarks/reliability/faults.py` runs the tests that the page names for each fault and writes `faults.md`: how
often it was injected, what is expected, and how often that was seen. A test that cannot run here, for want of a disk
or a right, is counted as left out.
"""

import re
import shlex
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE, OUT = ROOT / "docs" / "reliability.md", Path(__file__).with_name("faults.md")


def main() -> None:
    """Runs every row and writes the table; ends with 1 where something else was seen."""
    rows, wrong = [], 0
    for fault, told, stays, tests in faults():
        injected, seen, left = counted(tests)
        wrong += injected - seen
        expected = "; ".join(filter(None, (told, stays)))
        rows.append(f"| {fault} | {expected} | {injected} | {seen} | {left or ''} |")
        print(rows[-1], flush=True)
    lines = [
        "# Faults, injected and counted",
        "",
        f"Written by `python benchmarks/reliability/faults.py` on {date.today()}, Python {sys.version.split()[0]}.",
        "",
        "| fault | expected | injected | seen as expected | left out here |",
        "|---|---|--:|--:|--:|",
        *rows,
    ]
    OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.exit(1 if wrong else 0)


def faults() -> list[tuple[str, str, str, str]]:
    """The page's rows: fault, what is seen, what stays, and the words for pytest."""
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        words = re.search(r"`(tests/[^`]+)`", cells[-1])
        if words:
            found.append((cells[0], cells[1], cells[2], words[1]))
    return found


def counted(tests: str) -> tuple[int, int, int]:
    """How many tests ran, how many of them passed, and how many could not run."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        call = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *shlex.split(tests)]
        subprocess.run(call, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        suite = ElementTree.parse(report).getroot()[0]
    total, skipped, failed, errors = (
        int(suite.get(name, 0)) for name in ("tests", "skipped", "failures", "errors")
    )
    return total - skipped, total - skipped - failed - errors, skipped


if __name__ == "__main__":
    main()
