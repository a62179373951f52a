"""Fixtures that many tests share: the tiny world's folders, made once a session."""

import os
import signal
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported
signal.signal(
    signal.SIGINT, signal.default_int_handler
)  # a shell's background job ignores it, and so would children

import pytest  # noqa: E402
import torch  # noqa: E402
from support import tiny  # noqa: E402

from potstill.data.digits import digits  # noqa: E402

SHARED = Path(__file__).parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """No test reads or writes the user's cache; none reaches for a hub either (above)."""
    os.environ["POTSTILL_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tiny_dit(tmp_path_factory):
    return tiny.save_dit(tmp_path_factory.mktemp("dit"))


@pytest.fixture(scope="session")
def tiny_unclip(tmp_path_factory):
    return tiny.save_unclip(tmp_path_factory.mktemp("unclip"))


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory):
    return tiny.save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def tiny_stable_diffusion(tmp_path_factory):
    return tiny.save_stable_diffusion(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_decoder(tmp_path_factory):
    return tiny.save_tiny_decoder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def few():
    """Three of the digits."""
    return digits().select(("2", "3", "5"))


@pytest.fixture
def draw():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def shared_data():
    """The folder of real images beside the checkout; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the real images in {SHARED}")
    return SHARED
