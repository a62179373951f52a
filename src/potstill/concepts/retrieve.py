"""Concepts retrieved from a language model, class by class, so that nothing paid for is lost or asked for twice."""

import queue
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from potstill.concepts.answer import BadAnswer, parse
from potstill.concepts.bank import ConceptBank, Entry
from potstill.concepts.class_names import require_names
from potstill.concepts.language import LanguageModel, Message, Refused, Unavailable
from potstill.concepts.ledger import Ledger
from potstill.concepts.patience import Patience
from potstill.concepts.prompt import Prompt
from potstill.core.errors import PotstillError
from potstill.core.progress import OnStep, Step, silent
from potstill.core.seeds import generator
from potstill.data.real import Classes

GRACE = 10.0
"""Seconds that requests under way are given to end when the work is broken off, so that their answers are kept."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """How a language model is asked.

    Source: CONCORD, section 3.1 and appendix B: 10 phrases a class. `workers` requests are under way at most; an
    answer that keeps not to the form is asked for again with the reason, up to `tries` answers a class.
    Raises PotstillError for a number below 1.
    """

    prompt: Prompt
    phrases: int = 10
    workers: int = 8
    tries: int = 4
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        for name in ("phrases", "workers", "tries"):
            if getattr(self, name) < 1:
                raise PotstillError(f"{name} must be at least 1, not {getattr(self, name)}")

    def first_prompt(self, classes: Classes, place: int) -> str:
        """The question that opens the conversation about the class at a place of the list."""
        others = (name for other, name in enumerate(classes.names) if other != place)
        return self.prompt.ask(classes.names[place], others, self.phrases)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """What a retrieval came to: the bank so far, why classes failed, and what was counted this time."""

    bank: ConceptBank
    failed: Mapping[str, str]
    answers: int
    rejected: int
    tokens_in: int
    tokens_out: int


def retrieve(
    classes: Classes,
    model: LanguageModel,
    out: Path,
    settings: Retrieval,
    *,
    limit: int | None = None,
    on_step: OnStep = silent,
) -> Retrieved:
    """Fills the bank `out` with phrases of every class, or goes on where a killed run left it.

    At most `limit` of the missing classes are asked about. A class whose answers stay bad is reported with its last
    reason and the rest goes on. Raises PotstillError where `out` was made in another way or of other classes, and
    where the model does not answer at all; what was finished stays in the partial file.
    """
    require_names(classes)
    origin = dict(model.provenance) | {
        "template": settings.prompt.name,
        "template_sha256": settings.prompt.sha256,
    }
    with Ledger(out) as ledger:
        _require_same(out, ledger.entries, classes, origin, settings.phrases)
        missing = [place for place, key in enumerate(classes.keys) if key not in ledger.entries][:limit]
        asking = _Asking(classes, model, settings, origin, ledger)
        told: list[_Told] = []
        unanswered = 0
        with closing(_finished(asking.ask, missing, settings.workers, asking.stop)) as finished:
            for one in finished:
                told.append(one)
                unanswered = 0 if one.answers else unanswered + one.unavailable
                if unanswered >= max(settings.workers, 3):
                    raise PotstillError(f"no answer about {unanswered} classes in a row: {one.reason}")
                on_step(Step(stage="retrieve", index=len(told), total=len(missing)))
        done = {
            key: replace(ledger.entries[key], index=place)
            for place, key in enumerate(classes.keys)
            if key in ledger.entries
        }
        bank = ConceptBank(out.stem, done)
        ledger.finish(bank)
    return Retrieved(
        bank=bank,
        failed={one.key: one.reason for one in told if one.key not in done},
        answers=sum(one.answers for one in told),
        rejected=sum(one.answers - (one.key in done) for one in told),
        tokens_in=sum(one.tokens_in for one in told),
        tokens_out=sum(one.tokens_out for one in told),
    )


@dataclass(slots=True)
class _Told:
    """What asking about one class came to; `reason` is why its last answer, if any, was not kept."""

    key: str
    reason: str = ""
    unavailable: bool = False
    answers: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True)
class _Asking:
    """One retrieval under way."""

    classes: Classes
    model: LanguageModel
    settings: Retrieval
    origin: Mapping[str, str]
    ledger: Ledger
    stop: threading.Event = field(default_factory=threading.Event)

    def ask(self, place: int) -> _Told:
        """Asks about one class until an answer can be kept, tries run out, or the work is broken off."""
        key, name = self.classes.keys[place], self.classes.names[place]
        told, draw = _Told(key), generator("patience", key)
        turns: list[Message] = [{"role": "user", "content": self.settings.first_prompt(self.classes, place)}]
        while told.answers < self.settings.tries and not self.stop.is_set():
            try:
                reply = self.settings.patience.ask(self.model, turns, self.stop, draw)
            except (Unavailable, Refused) as error:
                told.reason, told.unavailable = str(error), isinstance(error, Unavailable)
                break
            told.answers += 1
            told.tokens_in += reply.tokens_in
            told.tokens_out += reply.tokens_out
            origin = {**self.origin, "date": datetime.now(UTC).date().isoformat()}
            try:
                found = parse(reply.text, name, self.settings.phrases)
            except BadAnswer as bad:
                told.reason = str(bad)
                self.ledger.reject({"key": key, "reason": told.reason, "answer": reply.text, **origin})
                turns += _again(reply.text, told.reason)
                continue
            self.ledger.add(
                Entry(
                    index=place,
                    key=key,
                    class_name=name,
                    look_alikes=found.look_alikes,
                    concepts=found.phrases,
                    provenance=origin,
                )
            )
            break
        return told


def _again(answer: str, reason: str) -> list[Message]:
    """The turns that hand an answer back; of a very long one only the beginning."""
    asked = f"That answer cannot be used: {reason}. Give the whole answer again, in the form asked for."
    return [{"role": "assistant", "content": answer[:4000]}, {"role": "user", "content": asked}]


def _require_same(
    out: Path, entries: Mapping[str, Entry], classes: Classes, origin: Mapping[str, str], phrases: int
) -> None:
    names = dict(zip(classes.keys, classes.names, strict=True))
    foreign = [key for key in entries if key not in names]
    if foreign:
        raise PotstillError(
            f"{out} holds classes that are not in the list, {', '.join(foreign[:20])}: choose another --out"
        )
    for key, entry in entries.items():
        was = {**entry.provenance, "class name": entry.class_name, "phrases": str(len(entry.concepts))}
        now = {**origin, "class name": names[key], "phrases": str(phrases)}
        if "edited" in was:
            now["phrases"] = was["phrases"]
        for name in ("date", "edited"):
            was.pop(name, None)
        changed = [
            f"{name}: {was.get(name, 'none')} -> {now.get(name, 'none')}"
            for name in sorted(was | now)
            if was.get(name) != now.get(name)
        ]
        if changed:
            raise PotstillError(
                f"{out} was begun in another way (class {key!r}: {'; '.join(changed)}): choose another --out, "
                "or go on as it was begun"
            )


def _finished(
    work: Callable[[int], T], items: Sequence[int], workers: int, stop: threading.Event
) -> Generator[T, None, None]:
    """The results of `work`, as they end, of at most `workers` threads; closing it sets `stop` and waits a while.

    The threads do not keep the process alive, so that an interrupt need not wait for a slow answer.
    """
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[T | BaseException] = queue.SimpleQueue()
    for item in items:
        todo.put(item)

    def labour() -> None:
        while not stop.is_set():
            try:
                done.put(work(todo.get_nowait()))
            except queue.Empty:
                return
            except BaseException as error:
                done.put(error)
                return

    threads = [threading.Thread(target=labour, daemon=True) for _ in range(min(workers, len(items)))]
    try:
        for thread in threads:
            thread.start()
        for _ in items:
            result = done.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        stop.set()
        until = time.monotonic() + GRACE
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
