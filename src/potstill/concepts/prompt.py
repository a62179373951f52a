"""The question put to a language model: a text with places for a class, never code, and the form of the answer."""

import hashlib
import json
import string
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from potstill.core.errors import PotstillError, unknown

PLACES = ("class_name", "others", "phrases")

_HERE = Path(__file__).parent
_FORM = (_HERE / "answer_form.txt").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt template: its name and its text, to which the form of the answer is always added.

    Places in the text: `$class_name`, which must stand in it; `$phrases`, how many phrases to write; `$others`, the
    other classes of the list; "$$" is a dollar sign. "concord" has the task of CONCORD, appendix B, in our words:
    look-alikes first, then visual parts that tell the class from them; "classification" asks for descriptors that
    help to classify (its table 4). Departs: the answer is a tagged list, not a Python list, and is never evaluated.
    """

    name: str
    text: str

    @classmethod
    def load(cls, source: str) -> "Prompt":
        """Opens a template by shipped name or path; raises PotstillError naming the file and what is wrong in it."""
        shipped = {file.stem: file for file in sorted((_HERE / "templates").glob("*.txt"))}
        file = shipped.get(source, Path(source))
        if not file.is_file():
            raise unknown("prompt template", source, [*shipped, "a text file"])
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise PotstillError(f"{file} is not UTF-8 text: {error}") from None
        template = string.Template(text)
        if not template.is_valid():
            raise PotstillError(f"{file}: a dollar sign of its own is written '$$'")
        for place in template.get_identifiers():
            if place not in PLACES:
                raise unknown("place", f"${place}", [f"${name}" for name in PLACES], str(file))
        if "class_name" not in template.get_identifiers():
            raise PotstillError(f"{file} lacks $class_name, the place of the class")
        return cls(source if source in shipped else file.name, text)

    @property
    def sha256(self) -> str:
        """The hex SHA-256 of the whole template, the form of the answer included."""
        return hashlib.sha256((self.text + _FORM).encode()).hexdigest()

    def ask(self, name: str, others: Iterable[str], phrases: int) -> str:
        """The question for one class; names go in as quoted data that cannot open or close a tag."""
        template = string.Template(self.text + _FORM)
        places = {"class_name": quoted(name), "phrases": str(phrases)}
        if "others" in template.get_identifiers():
            places["others"] = ", ".join(map(quoted, others))
        return template.substitute(places)


def quoted(name: str) -> str:
    """A name as a JSON string on one line, without angle brackets."""
    return json.dumps(name, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e")
