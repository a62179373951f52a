"""What a retrieval will cost, guessed before the first request."""

from collections.abc import Sequence
from dataclasses import dataclass

CHARACTERS = 4
"""Characters a token: a rule of thumb for English text."""

PHRASE, REST = 40, 200
"""Characters of an answer, for each phrase and beside them; the shipped banks have 37 a phrase, 36 of look-alikes."""

SECONDS = 5.0
"""What one answer is taken to last: an assumption, not a measurement."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Requests, tokens in and out, and seconds, if every first answer can be used."""

    requests: int
    tokens_in: int
    tokens_out: int
    seconds: float

    def cost(self, price_in: float, price_out: float) -> float:
        """The cost at two prices per million tokens, in their currency."""
        return (self.tokens_in * price_in + self.tokens_out * price_out) / 1e6


def estimate(prompts: Sequence[str], phrases: int, workers: int) -> Estimate:
    """Guesses from the length of the prompts."""
    requests = len(prompts)
    rounds = -(-requests // workers)
    answers = requests * (PHRASE * phrases + REST)
    return Estimate(
        requests, -(-sum(map(len, prompts)) // CHARACTERS), answers // CHARACTERS, SECONDS * rounds
    )
