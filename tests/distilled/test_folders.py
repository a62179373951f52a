"""Folder names: safe on every disk, apart from each other, also where a disk knows one case only."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.core.errors import PotstillError
from potstill.core.files import tells_case
from potstill.distilled import Manifest, Writer
from potstill.distilled.folders import folder_name, hold_apart

LETTERS = ("A", "a", "b")


@pytest.fixture
def blind(tmp_path: Path) -> Iterator[Path]:
    """A real disk that does not tell upper from lower case: NTFS in a file, mounted as Windows mounts it."""
    if os.geteuid() or not all(map(shutil.which, ("mkntfs", "lowntfs-3g", "umount"))):
        pytest.skip("needs root and ntfs-3g")
    image, folder = tmp_path / "disk.img", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(32 * 2**20)
    folder.mkdir()
    subprocess.run(["mkntfs", "-q", "-F", "-f", str(image)], check=True, capture_output=True)
    subprocess.run(["lowntfs-3g", "-o", "ignore_case", str(image), str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def begin(folder: Path) -> Writer:
    manifest = Manifest(
        name="letters",
        method={"kind": "random"},
        data={"name": "letters"},
        classes={"keys": LETTERS, "names": LETTERS},
        images_per_class=1,
        size=8,
        seed=0,
    )
    return Writer(folder, manifest)


def test_classes_that_differ_in_case_have_folders_of_their_own(tmp_path: Path) -> None:
    if not tells_case(tmp_path):
        pytest.skip("this disk knows one case")
    assert not list(tmp_path.iterdir())
    assert {slot.file_name for slot in begin(tmp_path / "set").missing} == {
        f"train/{key}/00000.png" for key in LETTERS
    }


def test_a_disk_that_knows_one_case_is_refused_what_it_would_mix(blind: Path) -> None:
    assert not tells_case(blind)
    for _ in range(2):
        with pytest.raises(PotstillError, match="disk/set is on a disk .* classes 'A' and 'a' would be one"):
            begin(blind / "set")
    hold_apart(("A", "b", "c"), blind)


@pytest.mark.parametrize("key", ["con", "NUL", "Aux.txt", "com1", "lpt9.a.b", "con ."])
def test_a_device_of_windows_is_no_folder(key):
    assert folder_name(key).startswith("class-") and folder_name(key) != folder_name(key.swapcase())
    assert folder_name(f"x{key.strip(' .')}") == f"x{key.strip(' .')}"


@given(st.text(max_size=300))
def test_folder_names_are_safe_and_apart(key):
    name = folder_name(key)
    assert name and len(name) <= 200 and name not in (".", "..")
    assert not set(name) & set('/\\:*?"<>|\0')
    assert folder_name(key + "x") != name
