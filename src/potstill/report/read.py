"""Distilled sets as a report needs them: read leniently, so that older and newer formats still show."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from potstill.bundled.licences import licences
from potstill.core.errors import PotstillError
from potstill.core.files import parse_json, read_json
from potstill.core.settings import from_plain

T = TypeVar("T")
Quantiles = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Negative:
    """A concept phrase of another class that an image was pushed away from."""

    key: str
    phrase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One image of a set: `scores` are its cosines to `concepts`, `teacher` is a confidence in [0, 1]."""

    file_name: str
    key: str
    index: int
    seed: int | None = None
    concepts: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    negatives: tuple[Negative, ...] = ()
    contrast: float | None = None
    teacher: float | None = None
    source: str | None = None

    @property
    def mean(self) -> float | None:
        """The mean cosine to the image's concepts; None where it was not scored."""
        return sum(self.scores) / len(self.scores) if self.scores else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The part of potstill.json that is shown.

    `real_scores`: for every class and phrase the 5, 50 and 95 per cent quantiles on real images of the class;
    `real_means`: those of an image's mean over its phrases. `spread`, `real_spread`: for every class how far
    its images lie apart, in any unit.
    """

    name: str
    classes: Mapping[str, tuple[str, ...]]
    images_per_class: int
    seed: int = 0
    size: int | None = None
    method: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    weights: tuple[Mapping[str, str], ...] = ()
    licences: Mapping[str, str] = field(default_factory=dict)
    device: str | None = None
    seconds: float | None = None
    seconds_per_image: float | None = None
    peak_memory_gib: float | None = None
    real_scores: Mapping[str, Mapping[str, Quantiles]] = field(default_factory=dict)
    real_means: Mapping[str, Quantiles] = field(default_factory=dict)
    spread: Mapping[str, float] = field(default_factory=dict)
    real_spread: Mapping[str, float] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The method's name in the table of methods; empty where the file does not say."""
        return str(self.method.get("kind", ""))

    @property
    def licensed(self) -> Mapping[str, str]:
        """The licences of the models and the data by name: as recorded, by today's tables where they were not."""
        names = [one["name"] for one in self.weights if "name" in one]
        return self.licences or licences(names, str(self.data.get("name", "")))

    def name_of(self, key: str) -> str:
        """A class's human name; its key where there is none."""
        names = dict(zip(self.classes["keys"], self.classes.get("names", ()), strict=False))
        return names.get(key, key)


@dataclass(frozen=True, slots=True)
class Arm:
    """One set in a report: its folder, its facts, its pictures in the order of metadata.jsonl."""

    folder: Path
    facts: Facts
    pictures: tuple[Picture, ...]

    def file(self, picture: Picture) -> Path:
        """The picture's file; raises PotstillError where it is missing or outside the set's folder."""
        file = self.folder / picture.file_name
        if not file.resolve().is_relative_to(self.folder.resolve()):
            raise PotstillError(f"{self.folder}: {picture.file_name!r} lies outside the set")
        if not file.is_file():
            raise PotstillError(f"no such file: {file}")
        return file


def read_facts(folder: Path) -> Facts:
    """Reads FOLDER/potstill.json; raises PotstillError that names the file and the field at fault."""
    file = folder / "potstill.json"
    if not file.exists():
        raise PotstillError(f"{folder} is not a distilled set: it has no potstill.json")
    facts = _known(Facts, read_json(file), str(file))
    if "keys" not in facts.classes:
        raise PotstillError(f"{file}: classes lacks keys")
    return facts


def read_arm(folder: Path) -> Arm:
    """Reads a distilled set; raises PotstillError that names the file, line or field at fault."""
    facts, file = read_facts(folder), folder / "metadata.jsonl"
    if not file.exists():
        raise PotstillError(f"{folder} is unfinished: it has no metadata.jsonl")
    lines = file.read_text(encoding="utf-8").split("\n")
    pictures = [
        _picture(line, f"{file}, line {number}") for number, line in enumerate(lines, 1) if line.strip()
    ]
    return Arm(folder, facts, tuple(pictures))


def labels(arms: Sequence[Arm]) -> list[str]:
    """One distinct label an arm: its name; with the seed, then the folder, where names are shared."""
    found = [arm.facts.name for arm in arms]
    ways = (lambda arm: f"{arm.facts.name}, seed {arm.facts.seed}", lambda arm: str(arm.folder))
    for way in ways:
        found = [
            way(arm) if found.count(label) > 1 else label for arm, label in zip(arms, found, strict=True)
        ]
    return found


def without_shared_words(names: Sequence[str]) -> list[str]:
    """Names without the leading words that all of them share, such as "handwritten"."""
    split = [name.split() for name in names]
    shared = 0
    while len(split) > 1 and all(
        len(words) > shared + 1 and words[shared] == split[0][shared] for words in split
    ):
        shared += 1
    return [" ".join(words[shared:]) if shared else name for words, name in zip(split, names, strict=True)]


def _picture(line: str, where: str) -> Picture:
    try:
        plain = parse_json(line)
    except ValueError as error:
        raise PotstillError(f"{where}: not valid JSON: {error}") from None
    if isinstance(plain, Mapping):
        plain = _keyed(plain) | {"negatives": [_keyed(one) for one in plain.get("negatives") or ()]}
    picture = _known(Picture, plain, where)
    if len(picture.scores) != len(picture.concepts):
        raise PotstillError(f"{where}: {len(picture.scores)} scores for {len(picture.concepts)} concepts")
    return picture


def _keyed(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {"key" if name == "class" else name: value for name, value in plain.items()}


def _known(kind: type[T], plain: Any, where: str) -> T:
    if isinstance(plain, Mapping):
        fields = {one.name for one in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
        plain = {name: value for name, value in plain.items() if name in fields}
    return from_plain(kind, plain, where)
