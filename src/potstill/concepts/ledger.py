"""What was paid for, on disk at once: finished classes, and answers that were turned down."""

import json
import os
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from potstill.concepts.bank import ConceptBank, Entry
from potstill.core.errors import PotstillError
from potstill.core.files import parse_json
from potstill.core.lock import alone_with
from potstill.core.settings import from_plain, to_plain


def entries_of(out: Path) -> dict[str, Entry]:
    """The classes that a bank and its partial file hold; a line cut short by a kill is passed over.

    Raises PotstillError for a place whose name does not end in .jsonl, and for what is no bank.
    """
    if out.suffix != ".jsonl":
        raise PotstillError(f"a concept bank's name ends in .jsonl, not {out.name!r}")
    found = dict(ConceptBank.load(str(out)).entries) if out.exists() else {}
    partial = _partial(out)
    whole = partial.read_bytes().rpartition(b"\n")[0] if partial.exists() else b""
    for number, line in enumerate(whole.split(b"\n") if whole else [], start=1):
        where = f"{partial}, line {number}"
        try:
            entry = from_plain(Entry, parse_json(line), where)
        except ValueError as error:
            raise PotstillError(f"{where}: not valid JSON: {error}") from None
        found[entry.key] = entry
    return found


class Ledger:
    """A bank in the making, held by one process at a time.

    Finished classes are appended to BANK.jsonl.partial and rejected answers to BANK.rejected.jsonl, each line flushed
    to disk before the call returns. Raises PotstillError where the place cannot be written to or is held by another.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._lines = threading.Lock()
        self._held = ExitStack()
        self._open = False

    def __enter__(self) -> "Ledger":
        with ExitStack() as held:
            held.enter_context(alone_with(self._out))
            self.entries = entries_of(self._out)
            for file in (_partial(self._out), _rejected(self._out)):
                _cut(file)
            self._append(_partial(self._out), b"")
            self._held, self._open = held.pop_all(), True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lines, self._held:
            self._open = False
            partial = _partial(self._out)
            if partial.exists() and partial.stat().st_size == 0:
                partial.unlink()

    def add(self, entry: Entry) -> None:
        """Keeps a finished class."""
        with self._lines:
            self._keep(_partial(self._out), to_plain(entry))
            self.entries[entry.key] = entry

    def reject(self, record: Mapping[str, object]) -> None:
        """Keeps an answer that could not be used."""
        with self._lines:
            self._keep(_rejected(self._out), record)

    def finish(self, bank: ConceptBank) -> None:
        """Puts the bank in its place, whole, unless it stands there already, and empties the partial file."""
        saved = ConceptBank.load(str(self._out)).entries if self._out.exists() else {}
        if list(saved.items()) != list(bank.entries.items()):
            bank.save(self._out)
        os.truncate(_partial(self._out), 0)

    def _keep(self, path: Path, record: object) -> None:
        if not self._open:
            raise PotstillError(f"{self._out} is closed")
        self._append(path, json.dumps(record).encode() + b"\n")

    def _append(self, path: Path, line: bytes) -> None:
        try:
            with path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise PotstillError(f"cannot write {path}: {error.strerror}") from error


def _partial(out: Path) -> Path:
    return out.with_name(f"{out.name}.partial")


def _rejected(out: Path) -> Path:
    return out.with_suffix(".rejected.jsonl")


def _cut(path: Path) -> None:
    """Takes off a last line that a kill cut short."""
    if path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
