"""The numbers of an evaluation and everything that they depend on, as one JSON file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from potstill.core.errors import PotstillError
from potstill.core.files import read_json, write_json
from potstill.core.settings import from_plain, to_plain
from potstill.evaluation import statistics


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One student: its seed and the shares of test images that its first guess and its first five get right.

    `seconds` are those of training and testing; `train_loss` is the mean of the last epoch. `best` is the best of
    the looks that the protocol's source takes at the test images, where it was asked for: to compare with papers
    that report it, and never an honest number.
    """

    seed: int
    accuracy: float
    top5: float
    seconds: float
    train_loss: float
    best: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Students trained on one set under one protocol.

    `name` is what was evaluated (a recipe), `set_seed` the seed of the set, `ipc` its images per class,
    rounded, and `settings` what was changed in the protocol. `teacher_accuracy` is the share of test images that the
    teacher names right, where there was one. `teacher_sha256`, of its values for these classes, and `data_sha256`, the
    data's fingerprint, tell which they were; older evaluations don't know.
    """

    name: str
    set_seed: int
    method: str
    data: str
    ipc: int
    protocol: str
    student: str
    teacher: str | None
    runs: tuple[Run, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    teacher_accuracy: float | None = None
    teacher_sha256: str | None = None
    data_sha256: str | None = None

    @property
    def accuracies(self) -> tuple[float, ...]:
        """Each student's accuracy, a fraction."""
        return tuple(run.accuracy for run in self.runs)

    @property
    def mean(self) -> float:
        """The students' mean accuracy, a fraction."""
        return statistics.mean(self.accuracies)

    @property
    def best(self) -> float | None:
        """The mean of the students' best looks at the test images; None where they were not asked for."""
        looks = [run.best for run in self.runs if run.best is not None]
        return statistics.mean(looks) if len(looks) == len(self.runs) else None

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation of the students' accuracies; None for one student."""
        return statistics.deviation(self.accuracies)

    def save(self, path: Path) -> None:
        """Writes the evaluation as JSON, whole or not at all."""
        write_json(path, to_plain(self))

    @classmethod
    def load(cls, path: Path | str) -> "Evaluation":
        """Reads an evaluation; raises PotstillError that names the file where it is missing or malformed."""
        return from_plain(cls, read_json(Path(path)), str(path))


def load_evaluations(places: Iterable[Path | str]) -> list[Evaluation]:
    """Saved evaluations: files, or sets and folders that hold some; raises PotstillError for a place without."""
    files: list[Path] = []
    for place in map(Path, places):
        if not place.exists():
            raise PotstillError(f"no such file or folder: {place}")
        within = "*.json" if place.resolve().name == "evaluations" else "**/evaluations/*.json"
        held = [place] if place.is_file() else sorted(place.glob(within))
        if not held:
            raise PotstillError(f"{place} holds no evaluations: run `potstill evaluate` first")
        files += held
    return [Evaluation.load(file) for file in files]
