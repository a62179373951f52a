"""How good a distilled set is: students trained on it under a named protocol, and what their numbers mean."""

from potstill.core.table import Table

PROTOCOLS = Table(
    "protocol",
    {
        "rded@1": "potstill.evaluation.protocols.rded:RDED",
        "hard@1": "potstill.evaluation.protocols.rded:HARD",
        "hard-minimax@1": "potstill.evaluation.protocols.minimax:MINIMAX",
        "dc@1": "potstill.evaluation.protocols.matching:DC",
        "dsa@1": "potstill.evaluation.protocols.matching:DSA",
        "glad@1": "potstill.evaluation.protocols.glad:GLAD",
        "fkd@1": "potstill.evaluation.protocols.fkd:FKD",
    },
)
"""Named, versioned ways to train and test students. What moves a number is a new version, not an edit."""
