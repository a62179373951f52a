"""A language model's answer, read strictly: look-alikes and phrases, or what is wrong with them."""

import json
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LONGEST = 127
"""Characters of a phrase; CONCORD, appendix B: under 128."""

MOST_LOOK_ALIKES = 10


class BadAnswer(Exception):
    """An answer that does not keep to the form; its message tells a model what to mend."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer named: classes that look alike, and phrases of visual appearance."""

    look_alikes: tuple[str, ...]
    phrases: tuple[str, ...]


def parse(text: str, name: str, phrases: int) -> Answer:
    """Reads the tagged answer for the class `name` with exactly `phrases` phrases.

    Words before the tags are passed over, and so are a reasoning model's thoughts, up to the line "</think>". Raises
    BadAnswer for another class, another number of phrases, and entries that are empty, repeated, too long, begin with
    an upper-case letter or hold control characters.
    """
    lines = [line.strip() for line in text.removeprefix("\ufeff").split("\n")]
    if "</think>" in lines:
        lines = lines[len(lines) - lines[::-1].index("</think>") :]
    if not any(lines):
        raise BadAnswer("it is empty")
    named = [line for line in lines if line.startswith("<class>") and line.endswith("</class>")]
    if len(named) != 1:
        raise BadAnswer("it must hold one line <class>...</class> with the name of the class")
    echo = named[0].removeprefix("<class>").removesuffix("</class>").strip()
    if _plain(name) not in (_plain(echo), _plain(_unquoted(echo))):
        raise BadAnswer(f"it names the class {echo[:LONGEST]}, which is not the one asked for")
    answer = Answer(tuple(_entries(lines, "look_alikes")), tuple(_entries(lines, "phrases")))
    faults = [*_faults(answer.look_alikes, "look-alike"), *_faults(answer.phrases, "phrase")]
    if len(answer.look_alikes) > MOST_LOOK_ALIKES:
        faults.append(f"it names {len(answer.look_alikes)} look-alikes, more than {MOST_LOOK_ALIKES}")
    if len(answer.phrases) != phrases:
        faults.append(f"it has {len(answer.phrases)} phrases, not {phrases}")
    faults += [
        f"phrase {place} begins with an upper-case letter"
        for place, phrase in enumerate(answer.phrases, start=1)
        if phrase[:1].isupper()
    ]
    if faults:
        raise BadAnswer("; ".join(faults))
    return answer


def _entries(lines: Sequence[str], tag: str) -> list[str]:
    opened, closed = f"<{tag}>", f"</{tag}>"
    if lines.count(opened) != 1 or lines.count(closed) != 1:
        raise BadAnswer(f"it must hold {opened} and {closed} once, each on a line of its own")
    inside = [line for line in lines[lines.index(opened) + 1 : lines.index(closed)] if line]
    for line in inside:
        if line != "-" and not line.startswith("- "):
            raise BadAnswer(
                f"every line between {opened} and {closed} begins with '- ', but not {line[:40]!r}"
            )
    return [line[1:].strip() for line in inside]


def _faults(entries: Sequence[str], kind: str) -> Iterator[str]:
    seen: set[str] = set()
    for place, entry in enumerate(entries, start=1):
        if not entry:
            yield f"{kind} {place} is empty"
        elif not entry.isprintable():
            yield f"{kind} {place} holds characters that cannot be printed"
        elif len(entry) > LONGEST:
            yield f"{kind} {place} has {len(entry)} characters, more than {LONGEST}"
        elif entry.casefold() in seen:
            yield f"{kind} {place} repeats an earlier one"
        seen.add(entry.casefold())


def _unquoted(echo: str) -> str:
    try:
        value = json.loads(echo)
    except ValueError:
        return echo
    return value if isinstance(value, str) else echo


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()
