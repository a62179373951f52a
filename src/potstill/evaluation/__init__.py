"""How good a distilled set is: students trained on it under a named protocol, and what their numbers mean."""

from potstill.core.table import Table

PROTOCOLS = Table(
    "protocol", {"rded@1": "potstill.evaluation.protocol:RDED", "hard@1": "potstill.evaluation.protocol:HARD"}
)
"""Named, versioned ways to train and test students. What moves a number is a new version, not an edit."""
