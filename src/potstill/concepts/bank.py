"""The concept bank: for every class its look-alikes and phrases of visual appearance, one JSON object a line."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from potstill.bundled import banks
from potstill.core.errors import PotstillError, unknown
from potstill.core.files import parse_json, read_lines, write_text
from potstill.core.settings import from_plain, to_plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One class of a bank: its key, its human name, look-alike classes, and phrases of how it looks.

    `provenance` says where the phrases come from (model, template hash, date, ...); banks without it are hand-made
    or carry it in their card.
    """

    index: int
    key: str
    class_name: str
    look_alikes: tuple[str, ...] = ()
    concepts: tuple[str, ...]
    provenance: Mapping[str, str] = field(default_factory=dict)

    def texts(self) -> list[str]:
        """The phrases as the encoder reads them: "{class name} with {phrase}" (CONCORD, section 4.1)."""
        return [f"{self.class_name} with {phrase}" for phrase in self.concepts]


@dataclass(frozen=True, slots=True)
class ConceptBank:
    """Phrases for every class of a data set; saved as JSON lines, one class a line."""

    name: str
    entries: Mapping[str, Entry]

    @classmethod
    def load(cls, source: str) -> "ConceptBank":
        """Opens a bank by shipped name or path; raises PotstillError that names file, line and what is wrong."""
        file = banks().get(source, Path(source))
        if not file.is_file():
            raise unknown("concept bank", source, [*banks(), "a .jsonl file"])
        entries: dict[str, Entry] = {}
        for number, line in enumerate(read_lines(file), start=1):
            where = f"{file}, line {number}"
            try:
                entry = from_plain(Entry, parse_json(line), where)
            except ValueError as error:
                raise PotstillError(f"{where}: not valid JSON: {error}") from None
            _check(entry, where)
            if entry.key in entries:
                raise PotstillError(f"{where}: class {entry.key!r} stands twice")
            entries[entry.key] = entry
        if not entries:
            raise PotstillError(f"{file} holds no classes")
        return cls(file.stem, entries)

    def save(self, file: Path) -> None:
        """Writes the bank as JSON lines, whole or not at all."""
        lines = (json.dumps(to_plain(entry), ensure_ascii=False) for entry in self.entries.values())
        write_text(file, "".join(line + "\n" for line in lines))

    def select(self, keys: Iterable[str]) -> "ConceptBank":
        """The bank of the given classes, in their order; raises PotstillError for classes it lacks."""
        wanted = list(keys)
        lacking = [key for key in wanted if key not in self.entries]
        if lacking:
            raise PotstillError(
                f"concept bank {self.name!r} lacks {len(lacking)} classes: {', '.join(lacking[:20])}. "
                f"It holds: {', '.join(list(self.entries)[:20])}{', ...' if len(self.entries) > 20 else ''}"
            )
        return ConceptBank(self.name, {key: self.entries[key] for key in wanted})


def _check(entry: Entry, where: str) -> None:
    if not entry.class_name.strip():
        raise PotstillError(f"{where}: class {entry.key!r} has an empty class_name")
    if not entry.concepts:
        raise PotstillError(f"{where}: class {entry.key!r} has no concepts")
    if any(not phrase.strip() for phrase in entry.concepts):
        raise PotstillError(f"{where}: class {entry.key!r} has an empty phrase")
    if len(set(entry.concepts)) < len(entry.concepts):
        raise PotstillError(f"{where}: class {entry.key!r} names a phrase twice")
