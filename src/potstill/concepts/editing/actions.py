"""What the page can ask for: each action a method, its words checked before it runs."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from potstill.concepts.bank import Entry
from potstill.concepts.editing.seen import Seen
from potstill.concepts.editing.session import EditSession
from potstill.core.errors import PotstillError

SHOWN = 6
"""Images shown at either end of a ranking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The words of a request: a class, its phrases now and before, another class, a decision."""

    key: str = ""
    phrases: tuple[str, ...] = ()
    was: tuple[str, ...] = ()
    of: str = ""
    take: bool = False


class Actions:
    """An edit session and its real images, as a page sees them; usable from several threads."""

    def __init__(self, session: EditSession, seen: Seen) -> None:
        self._session, self._seen = session, seen
        self._lock = threading.Lock()
        self.thumbnail = seen.thumbnail
        self.table: dict[str, Callable[[Asked], object]] = {
            "bank": self._bank,
            "class": self._class,
            "validity": self._validity,
            "ranked": self._ranked,
            "near": self._near,
            "edit": self._edit,
            "undo": self._undo,
            "save": self._save,
            "draft": self._draft,
        }

    def _bank(self, asked: Asked) -> object:
        entries = self._session.bank.entries.values()
        classes = [
            {"key": one.key, "name": one.class_name, "images": self._seen.counts.get(one.key, 0)}
            for one in entries
        ]
        return {
            "name": self._session.bank.name,
            "out": str(self._session.out),
            "classes": classes,
            **self._state(),
        }

    def _class(self, asked: Asked) -> object:
        return {"entry": self._shown(asked.key), **self._state()}

    def _validity(self, asked: Asked) -> object:
        return self._seen.validity(self._worded(asked))

    def _ranked(self, asked: Asked) -> object:
        ranked = [
            {"row": row, "id": self._seen.identity(row), "score": score}
            for row, score in self._seen.ranked(self._worded(asked), asked.of)
        ]
        return {"highest": ranked[:SHOWN], "lowest": ranked[SHOWN:][: -SHOWN - 1 : -1]}

    def _near(self, asked: Asked) -> object:
        return self._seen.near(self._session.bank, self._session.entry(asked.key).key)

    def _edit(self, asked: Asked) -> object:
        with self._lock:
            self._session.edit(asked.key, asked.was, asked.phrases)
        return self._class(asked)

    def _undo(self, asked: Asked) -> object:
        with self._lock:
            key = self._session.undo()
        return self._class(Asked(key=key))

    def _save(self, asked: Asked) -> object:
        with self._lock:
            self._session.save()
        return self._state()

    def _draft(self, asked: Asked) -> object:
        with self._lock:
            self._session.answer_offer(asked.take)
        return self._state()

    def _worded(self, asked: Asked) -> Entry:
        if not asked.phrases:
            raise PotstillError("a class keeps at least one phrase")
        return replace(self._session.entry(asked.key), concepts=asked.phrases)

    def _shown(self, key: str) -> object:
        entry = self._session.entry(key)
        return {"key": key, "name": entry.class_name, "alike": entry.look_alikes, "phrases": entry.concepts}

    def _state(self) -> dict[str, object]:
        session = self._session
        offer = session.offer and {"classes": len(session.offer.phrases), "stale": session.stale}
        return {"changed": list(session.changed), "steps": session.steps, "offer": offer}
