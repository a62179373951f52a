"""A folder is held by one process, and by none once that is dead."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from potstill.core.errors import PotstillError
from potstill.core.lock import alone, alone_with

HOLDER = """
import sys
from pathlib import Path
from potstill.core.lock import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_told_of_the_first_until_that_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    command = [sys.executable, "-c", HOLDER, str(folder)]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None and first.stdout.readline() == "held\n"
    with (
        pytest.raises(PotstillError, match=f"{folder} is being filled by process {first.pid} on"),
        alone(folder),
    ):
        pass
    first.send_signal(signal.SIGKILL)
    first.communicate()
    with alone(folder):
        (folder / "kept").touch()
    assert [file.name for file in folder.iterdir()] == ["kept"]


def test_a_file_is_held_with_its_own_name(tmp_path: Path) -> None:
    bank = tmp_path / "new" / "a {}.jsonl"
    with alone_with(bank):
        with (
            pytest.raises(PotstillError, match="is being filled by process .* or name another file"),
            alone_with(bank),
        ):
            pass
        with alone_with(bank.with_name("other.jsonl")), alone(tmp_path / "new"):
            pass
    assert not list(tmp_path.iterdir()), "what is still empty is taken away again"


def test_nothing_is_left_of_a_folder_that_stayed_empty(tmp_path: Path) -> None:
    with alone(tmp_path / "set"):
        pass
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(PotstillError, match="file is a file: name a folder"), alone(tmp_path / "file"):
        pass
