"""How long to go on asking a language model that does not answer."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from potstill.concepts.language import LanguageModel, Message, Reply, Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Exponential backoff: `attempts` at one question; waits of `first` seconds, doubled up to `most`.

    A wait is drawn between half and all of that, so that threads do not come back together. Where the other side
    says how long to wait, that is done instead, unless it is above `longest` seconds: then the question is given up.
    """

    attempts: int = 8
    first: float = 1.0
    most: float = 60.0
    longest: float = 600.0

    def ask(
        self, model: LanguageModel, messages: Sequence[Message], stop: threading.Event, draw: torch.Generator
    ) -> Reply:
        """Asks until there is a reply; raises the last Unavailable when patience ends or `stop` is set."""
        for attempt in range(self.attempts):
            try:
                return model.ask(messages)
            except Unavailable as error:
                wait = error.wait
                if wait is None:
                    share = 0.5 + 0.5 * torch.rand((), generator=draw).item()
                    wait = share * min(self.most, self.first * 2**attempt)
                if attempt + 1 == self.attempts or wait > self.longest or stop.wait(wait):
                    raise
        raise ValueError(f"patience needs at least 1 attempt, not {self.attempts}")
