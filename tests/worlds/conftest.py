"""The training scripts live in the repository's root, beside the package."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    """The scripts name their files from the root."""
    monkeypatch.chdir(ROOT)
