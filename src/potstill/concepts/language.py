"""What a language model is to us: messages in, text out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Message = Mapping[str, str]
"""One turn of a conversation: `role` ("user" or "assistant") and `content`."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's text and the tokens it was counted as; 0 where nobody counted."""

    text: str
    tokens_in: int = 0
    tokens_out: int = 0


class LanguageModel(Protocol):
    """Anything that answers a conversation; `ask` is called from several threads at once."""

    @property
    def provenance(self) -> Mapping[str, str]:
        """What decides its answers: the model's name, and the temperature where one is set."""
        ...

    def ask(self, messages: Sequence[Message]) -> Reply:
        """Answers; raises Unavailable, Refused, or PotstillError where no question will ever be answered."""
        ...


class Unavailable(Exception):
    """No answer came this time; `wait` is how many seconds the other side wants to be left alone, if it said."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class Refused(Exception):
    """No answer will come to this question, however often it is asked; others may have one."""
