"""Real data in, images out: one method a file."""

from potstill.core.table import Table
from potstill.methods.method import Made as Made
from potstill.methods.method import Maker as Maker
from potstill.methods.method import Method as Method

METHODS = Table(
    "method",
    {
        "random": "potstill.methods.random:Random",
        "guided": "potstill.methods.guided:Guided",
    },
)
