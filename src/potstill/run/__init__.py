"""Executors: they fill a set's places shard by shard, the same shards wherever they run."""

from potstill.core.table import Table
from potstill.run.fill import distill as distill
from potstill.run.local import Executor as Executor

EXECUTORS = Table(
    "executor",
    {
        "local": "potstill.run.local:InProcess",
        "ray": "potstill.run.on_ray:OnRay",
    },
)
