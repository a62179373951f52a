"""Seeds, tables, files and blocks."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from potstill.core.blocks import ROWS, in_blocks
from potstill.core.errors import PotstillError
from potstill.core.files import read_json, sha256, write_json, write_text, write_whole
from potstill.core.fingerprint import fingerprint
from potstill.core.seeds import generator
from potstill.core.table import Table


def test_generators_depend_on_the_whole_identity():
    def first(*identity):
        return torch.rand((), generator=generator(*identity)).item()

    others = [(0, "a", 2), (1, "a", 1), (0, "a1"), ("0", "a", 1), (0, "a", "1")]
    assert len({first(0, "a", 1), *(first(*other) for other in others)}) == 6
    assert first(0, "a", 1) == first(0, "a", 1)


def test_generators_leave_the_global_one_alone():
    before = torch.random.get_rng_state()
    torch.randn(3, generator=generator(1, "x"))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_known_draw_never_changes():
    """The seeds of every set ever made rest on this number."""
    assert torch.randint(10**9, (), generator=generator(0, "image", "7", 3)).item() == KNOWN


KNOWN = 584961695


def test_a_table_imports_on_use_and_names_what_it_lacks():
    table = Table("thing", {"root": "math:sqrt", "absent": "no_such_module:x"})
    assert list(table) == ["root", "absent"] and table["root"](9) == 3
    with pytest.raises(
        PotstillError, match="unknown thing 'rot'. Did you mean 'root'.*Allowed: root, absent"
    ):
        table["rot"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "a" / "b.txt"
    write_text(file, "old")

    def torn(partial):
        partial.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(PotstillError, match=r"cannot write .*b\.txt: disk full"):
        write_whole(file, torn)
    assert file.read_text() == "old" and os.listdir(file.parent) == ["b.txt"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    write_text(tmp_path / "file", "x")
    with pytest.raises(PotstillError, match=r"cannot write .*file/inner/b\.txt: Not a directory"):
        write_text(tmp_path / "file" / "inner" / "b.txt", "y")
    with pytest.raises(PotstillError, match=r"cannot write a file to '\.': that is a folder"):
        write_text(Path(""), "y")


def test_whoever_may_read_a_text_may_read_tensors(tmp_path):
    write_text(tmp_path / "text", "x")
    write_whole(tmp_path / "tensors", lambda path: save_file({"a": torch.zeros(2)}, path))
    modes = [(tmp_path / name).stat().st_mode for name in ("text", "tensors")]
    assert modes[0] == modes[1]


def test_a_failed_write_tells_its_own_reason(tmp_path):
    """Not that of an error which was being handled before."""

    def write(error):
        def failing(partial):
            raise error

        try:
            raise OSError("long ago")
        except OSError:
            write_whole(tmp_path / "b", failing)

    with pytest.raises(PotstillError, match="cannot write .*: disk full"):
        write(OSError("disk full"))


def test_json_is_read_strictly(tmp_path):
    write_json(tmp_path / "x.json", {"ä": [1, 2.5, None]})
    assert read_json(tmp_path / "x.json") == {"ä": [1, 2.5, None]}
    with pytest.raises(ValueError):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    with pytest.raises(PotstillError, match="no such file"):
        read_json(tmp_path / "y.json")
    (tmp_path / "z.json").write_text('{"a": NaN}')
    with pytest.raises(PotstillError, match=r"z\.json is not valid JSON: NaN is no number of JSON"):
        read_json(tmp_path / "z.json")


def test_hashes_follow_content_and_names(tmp_path):
    write_text(tmp_path / "one" / "a", "x")
    write_text(tmp_path / "two" / "b", "x")
    assert sha256(tmp_path / "one" / "a") == sha256(tmp_path / "two" / "b")
    assert sha256(tmp_path / "one") != sha256(tmp_path / "two")
    assert (
        sha256(tmp_path / "one" / "a") == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    )


def test_fingerprints_see_one_changed_bit():
    one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    other.load_state_dict(one.state_dict())
    assert fingerprint([one]) == fingerprint([other])
    with torch.no_grad():
        other.bias[0] = torch.nextafter(other.bias[0], torch.tensor(9.0))
    assert fingerprint([one]) != fingerprint([other])


def test_blocks_always_have_the_same_number_of_rows(draw):
    sizes = []

    def double(rows, more):
        sizes.append(len(rows))
        return rows * 2 + more

    for count in (1, ROWS - 1, ROWS, ROWS + 1, 3 * ROWS):
        values, more = torch.randn(count, 2, generator=draw), torch.arange(count)[:, None]
        assert torch.equal(in_blocks(double, values, more), values * 2 + more)
    assert set(sizes) == {ROWS}


@pytest.mark.parametrize("width", [32, 96, 128])
def test_a_row_in_blocks_does_not_depend_on_its_company(width, draw):
    net = nn.Sequential(nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width))
    rows = torch.randn(37, width, generator=draw)
    with torch.no_grad():
        whole = in_blocks(net, rows)
        for some in (torch.tensor([5]), torch.tensor([36, 2, 19]), torch.arange(36, -1, -1)):
            assert torch.equal(in_blocks(net, rows[some]), whole[some])
