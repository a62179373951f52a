"""How unlike synthetic and real are, as one scalar: one objective a file."""

from potstill.core.table import Table
from potstill.objectives.objective import Matcher as Matcher
from potstill.objectives.objective import Objective as Objective

MATCHINGS = Table(
    "matching objective",
    {
        "gradient": "potstill.objectives.gradient:GradientMatching",
        "distribution": "potstill.objectives.distribution:DistributionMatching",
        "idm": "potstill.objectives.idm:Idm",
        "statistics": "potstill.objectives.statistics:BatchNormStatistics",
        "trajectory": "potstill.objectives.trajectory:TrajectoryMatching",
    },
)
