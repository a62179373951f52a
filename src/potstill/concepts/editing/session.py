"""A concept bank being edited: what was changed, the steps back, and a draft on disk that a kill cannot take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from potstill.bundled import banks
from potstill.concepts.answer import LONGEST
from potstill.concepts.bank import ConceptBank, Entry
from potstill.core.errors import PotstillError, unknown
from potstill.core.files import read_json, sha256, write_json
from potstill.core.settings import from_plain, to_plain

Phrases = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Unsaved edits: the phrases of every changed class, and the hash of the bank that they were made on."""

    of: str
    phrases: Mapping[str, Phrases]


class EditSession:
    """The edits of one bank, each on disk beside it (FILE.draft) before the call returns.

    Whoever opens one holds `saved_to` (`alone_with`). `offer` is a draft of an earlier session; nothing can be edited
    until it is taken up or thrown away.
    """

    def __init__(self, source: str, out: Path | None = None) -> None:
        """Opens a bank by shipped name or path, to be saved to `out`, by default where it came from.

        Raises PotstillError for a shipped bank without `out`, an `out` that is another file, and a broken draft.
        """
        file, self.out = banks().get(source, Path(source)), saved_to(source, out)
        if self.out.exists() and not (file.exists() and self.out.samefile(file)):
            raise PotstillError(
                f"{self.out} exists and is not {file}: to go on in it, give --bank {self.out}"
            )
        self.bank = ConceptBank.load(source)
        self._base, self._found = sha256(file), _hash(self.out)
        self.draft = self.out.with_name(f"{self.out.name}.draft")
        self.changed: dict[str, Phrases] = {}
        self._steps: list[tuple[str, Phrases]] = []
        self.offer = self._offered()

    @property
    def stale(self) -> bool:
        """Whether the bank has changed since the offered draft was made."""
        return self.offer is not None and self.offer.of != self._base

    @property
    def steps(self) -> int:
        """How many edits can be undone."""
        return len(self._steps)

    def entry(self, key: str) -> Entry:
        """A class as it stands now; raises PotstillError for a class that the bank lacks."""
        if key not in self.bank.entries:
            raise unknown("class", key, self.bank.entries, str(self.out))
        entry = self.bank.entries[key]
        return replace(entry, concepts=self.changed.get(key, entry.concepts))

    def edit(self, key: str, was: Sequence[str], phrases: Sequence[str]) -> None:
        """Gives a class other phrases in place of those that the caller saw.

        Raises PotstillError where the class has changed in the meantime, for no phrases at all, empty and repeated
        ones, and for new ones of more than 127 characters or with characters that cannot be printed.
        """
        if self.offer is not None:
            raise PotstillError("first take up or throw away the unsaved edits of last time")
        held = self.entry(key).concepts
        wanted = tuple(phrase if phrase in held else phrase.strip() for phrase in phrases)
        if held != tuple(was):
            raise PotstillError(
                f"class {key!r} has changed meanwhile, perhaps in another window: reload the page"
            )
        _check(wanted, held)
        if wanted != held:
            self._keep(self.changed | {key: wanted})
            self._steps.append((key, held))

    def undo(self) -> str:
        """Takes the last edit back and says of which class it was; raises PotstillError where there is none."""
        if not self._steps:
            raise PotstillError("there is nothing to undo")
        key, held = self._steps[-1]
        self._keep(self.changed | {key: held})
        self._steps.pop()
        return key

    def answer_offer(self, take: bool) -> None:
        """Takes up the edits of last time, or throws them away."""
        if self.offer is None:
            raise PotstillError("there are no unsaved edits of last time")
        taken = self.offer.phrases if take else {}
        self._keep(taken)
        self._steps += [(key, self.bank.entries[key].concepts) for key in taken]
        self.offer = None

    def save(self) -> None:
        """Writes the bank, whole or not at all, marks edited classes with the date, and removes the draft.

        Raises PotstillError where the file is no longer the one that was opened.
        """
        if self.offer is not None:
            raise PotstillError("first take up or throw away the unsaved edits of last time")
        if _hash(self.out) != self._found:
            self._keep(self.changed)
            raise PotstillError(
                f"{self.out} has changed on disk since it was opened, so nothing was written. Your edits are kept in "
                f"{self.draft}: stop this command and start it again"
            )
        today = {"edited": date.today().isoformat()}
        marked = {
            key: replace(self.entry(key), provenance={**self.bank.entries[key].provenance, **today})
            for key in self.changed
        }
        self.bank = ConceptBank(self.out.stem, {**self.bank.entries, **marked})
        self.bank.save(self.out)
        self._base = self._found = sha256(self.out)
        self._keep({})

    def _keep(self, phrases: Mapping[str, Phrases]) -> None:
        """Makes these the unsaved edits, first on disk."""
        changed = {key: own for key, own in phrases.items() if own != self.bank.entries[key].concepts}
        if changed:
            write_json(self.draft, to_plain(Draft(of=self._base, phrases=changed)))
        else:
            self.draft.unlink(missing_ok=True)
        self.changed = changed

    def _offered(self) -> Draft | None:
        if not self.draft.exists():
            return None
        draft = from_plain(Draft, read_json(self.draft), str(self.draft))
        for key, phrases in draft.phrases.items():
            if key not in self.bank.entries:
                raise unknown("class", key, self.bank.entries, f"{self.draft}; mend it or move it away")
            _check(phrases, self.bank.entries[key].concepts)
        other = {key: own for key, own in draft.phrases.items() if own != self.bank.entries[key].concepts}
        return replace(draft, phrases=other) if other else None


def saved_to(source: str, out: Path | None) -> Path:
    """Where the edits of a bank are saved; raises PotstillError for a shipped bank without `out`."""
    if source in banks() and out is None:
        raise PotstillError(f"the shipped bank {source!r} stays as it is: name an --out FILE.jsonl")
    return out or Path(source)


def _hash(file: Path) -> str | None:
    return sha256(file) if file.exists() else None


def _check(phrases: Phrases, held: Phrases) -> None:
    if not phrases:
        raise PotstillError("a class keeps at least one phrase")
    for phrase in phrases:
        if not phrase:
            raise PotstillError("a phrase must not be empty")
        if phrases.count(phrase) > 1:
            raise PotstillError(f"the phrase {phrase!r} stands twice")
        if phrase not in held and not phrase.isprintable():
            raise PotstillError(f"the phrase {phrase!r} holds characters that cannot be printed")
        if phrase not in held and len(phrase) > LONGEST:
            raise PotstillError(f"a phrase has {len(phrase)} characters; {LONGEST} are allowed")
