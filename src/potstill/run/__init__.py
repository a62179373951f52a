"""Executors: they fill a set's places batch by batch, the same batches wherever they run."""

from potstill.run.local import distill as distill
