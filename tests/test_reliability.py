"""Faults injected into real processes: each ends in a message that names the file and a state to go on from."""

import os
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from potstill.core.errors import PotstillError
from potstill.core.files import write_text, write_whole
from potstill.core.state import save_state
from potstill.data import load


def distill(out: Path, largest: int | None = None) -> subprocess.CompletedProcess[str]:
    """Random digits, in a process that may write no file of more than `largest` bytes."""

    def limit() -> None:
        if largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))

    command = [
        sys.executable,
        "-m",
        "potstill",
        "distill",
        "--method",
        "random",
        "--ipc",
        "3",
        "--out",
        str(out),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, preexec_fn=limit)


def test_no_room_for_a_file_is_told_and_the_set_is_finished_once_there_is(tmp_path: Path) -> None:
    full = distill(tmp_path / "set", largest=2000)
    assert full.returncode == 2 and "Traceback" not in full.stderr
    assert "cannot write" in full.stderr and "File too large" in full.stderr
    assert not list((tmp_path / "set").rglob("*.partial"))
    assert distill(tmp_path / "set").returncode == 0
    assert distill(tmp_path / "whole").returncode == 0
    mended, whole = (
        {file.relative_to(root): file.read_bytes() for file in root.rglob("*.png")}
        for root in (tmp_path / "set", tmp_path / "whole")
    )
    assert mended == whole and len(whole) == 30


@pytest.fixture
def unwritable(tmp_path: Path) -> Iterator[Path]:
    """A disk mounted to be read, where root runs the tests; else a folder without the right to write."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid():
        folder.chmod(0o500)
        yield folder
        return
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("root, and no right to mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_folder_that_cannot_be_written_is_named(unwritable: Path) -> None:
    refused = distill(unwritable / "set")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert f"cannot make {unwritable / 'set'}: " in refused.stderr


@pytest.mark.parametrize("write", ["state", "weights", "text"])
def test_no_room_is_told_whoever_writes(tmp_path: Path, write: str) -> None:
    file, values = tmp_path / "file", {"values": torch.zeros(10_000)}
    writers = {
        "state": lambda: save_state(file, values),
        "weights": lambda: write_whole(file, lambda path: save_file(values, path)),
        "text": lambda: write_text(file, "x" * 10_000),
    }
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(PotstillError, match=f"cannot write {file}: .*File too large"):
            writers[write]()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def bomb(side: int) -> bytes:
    """A sound PNG of side x side black pixels in a few kilobytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    rows = zlib.compress(bytes((side // 8 + 1) * 100), 9)
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_by_name_and_never_opened(tmp_path: Path) -> None:
    """40,000 x 40,000 pixels would be 4.8 GB."""
    for split in ("train", "test"):
        for key in ("cat", "dog"):
            folder = tmp_path / split / key
            folder.mkdir(parents=True)
            for place in range(2):
                pixels = np.full((8, 8, 3), place * 40, np.uint8)
                Image.fromarray(pixels).save(folder / f"{place}.png")
    (tmp_path / "train" / "cat" / "bomb.png").write_bytes(bomb(40_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PotstillError, match="bomb.png"):
        load(str(tmp_path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000
    real = load(str(tmp_path), skip_bad=True)
    assert len(real.train) == 4
