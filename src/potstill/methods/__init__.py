"""Real data in, images out: one method a file."""

from potstill.core.table import Table
from potstill.methods.method import Made as Made
from potstill.methods.method import Maker as Maker
from potstill.methods.method import Method as Method

METHODS = Table(
    "method",
    {
        "random": "potstill.methods.random:Random",
        "k-center": "potstill.methods.coreset:KCenter",
        "herding": "potstill.methods.coreset:Herding",
        "rded": "potstill.methods.patches:Rded",
        "guided": "potstill.methods.guided:Guided",
        "sre2l": "potstill.methods.sre2l:Sre2l",
        "d4m": "potstill.methods.d4m:D4M",
        "matching": "potstill.methods.matching:Matching",
    },
)
