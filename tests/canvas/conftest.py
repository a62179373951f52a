"""Real images for canvases."""

import pytest

from potstill.data.digits import digits
from potstill.data.real import RealData


@pytest.fixture(scope="session")
def few() -> RealData:
    """Three digits."""
    return digits().select(("2", "3", "5"))
