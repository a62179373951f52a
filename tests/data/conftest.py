import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from datasets import config
from PIL import Image

SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    config.HF_DATASETS_CACHE = str(tmp_path_factory.mktemp("datasets"))


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    def find(name: str) -> Path:
        folder = SHARED / "data" / name
        if not folder.is_dir():
            pytest.skip(f"{folder} is not on this machine")
        return folder

    return find


def picture(seed: int, size: tuple[int, int] = (12, 12)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise)


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes one small picture to each of the paths given below a fresh root."""

    def make(*files: str, root: str = "root", size: tuple[int, int] = (12, 12)) -> Path:
        for seed, file in enumerate(files):
            path = tmp_path / root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(seed, size).save(path)
        return tmp_path / root

    return make


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"a network call: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
