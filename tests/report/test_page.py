import json
import re

import pytest
from report.fakes import KEYS, PHRASES, score

from potstill.core.errors import PotstillError
from potstill.report.page import page


def payload(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="payload">(.*?)</script>', text)[1])


def test_the_payload_holds_what_is_on_disk(make_set, saved, tmp_path):
    sets = [make_set("plain", 0), make_set("informed", 1)]
    files = [saved("plain", [0.5, 0.6]), saved("informed", [0.6, 0.72])]
    found = payload(page(sets, files, tmp_path / "report.html", title="t"))
    assert found["names"] == ["plain", "informed"] and found["baseline"] == "plain"
    picture = found["arms"][1]["images"][2][3]
    assert picture["index"] == 3
    assert picture["scores"] == [score(1, 2, 3, phrase) for phrase in range(3)]
    assert found["arms"][1]["ranges"][2][PHRASES[1]] == [0.2, 0.3, 0.4]
    pair = found["comparisons"][0]["differences"]["plain"]["informed"]
    assert pair["mean"] == pytest.approx(0.11) and pair["verdict"] == "no gain"
    assert found["summary"][0]["secondsPerImage"] == 1.0
    assert found["arms"][0]["settings"]["terms.0.pace.weight"] == 0.1


def test_no_text_of_a_set_can_open_a_tag(make_set, saved, tmp_path):
    name = "</script><script>window.hacked = 4</script>"
    folder = make_set("a", changes={"name": name})
    out = page([folder], [saved(name, [0.5])], tmp_path / "r.html", title=name, notes=[name])
    text = out.read_text(encoding="utf-8")
    assert text.count("<script") == 2 and text.count("</script>") == 2
    assert payload(out)["title"] == name


def test_nothing_is_fetched_and_only_hashed_scripts_run(make_set, tmp_path):
    text = page([make_set("a")], [], tmp_path / "r.html", title="t").read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)


def test_the_same_input_gives_the_same_bytes(make_set, saved, tmp_path):
    sets, files = [make_set("a")], [saved("a", [0.5])]
    first, second = (
        page(sets, files, tmp_path / name, title="t").read_bytes() for name in ("1.html", "2.html")
    )
    assert first == second


def test_a_long_set_is_cut_and_says_so(make_set, tmp_path, monkeypatch):
    monkeypatch.setattr("potstill.report.payload.MOST_IMAGES", 4)
    found = payload(page([make_set("a"), make_set("b", 1)], [], tmp_path / "r.html", title="t"))
    assert (found["columns"], found["allColumns"]) == (1, 4)
    assert (len(found["classes"]), found["allClasses"]) == (2, 3)
    assert [len(images) for images in found["arms"][0]["images"]] == [1, 1]
    assert len(found["arms"][0]["means"][0]) == 4


def test_large_images_are_scaled_down(make_set, tmp_path):
    found = payload(page([make_set("a", size=256)], [], tmp_path / "r.html", title="t"))
    picture = found["arms"][0]["images"][0][0]
    assert picture["px"] == 192 and picture["src"].startswith("data:image/webp;base64,")


def test_the_baseline_is_the_first_made_set(make_set, tmp_path):
    sets = [make_set("random", kind="random", scored=False), make_set("plain", 1), make_set("informed", 2)]
    assert payload(page(sets, [], tmp_path / "r.html", title="t"))["baseline"] == "plain"
    chosen = page(sets, [], tmp_path / "r.html", title="t", baseline="informed")
    assert payload(chosen)["baseline"] == "informed"
    with pytest.raises(PotstillError, match="unknown baseline 'other'"):
        page(sets, [], tmp_path / "r.html", title="t", baseline="other")


def test_a_broken_image_is_named(make_set, tmp_path):
    folder = make_set("a")
    (folder / "train/1/00002.png").write_bytes(b"not a picture")
    with pytest.raises(PotstillError, match=r"00002.png cannot be read as an image"):
        page([folder], [], tmp_path / "r.html", title="t")


def test_an_unknown_class_key_of_an_image_is_left_out(make_set, tmp_path):
    folder = make_set("a")
    with (folder / "metadata.jsonl").open("a") as lines:
        lines.write('{"file_name": "train/9/00000.png", "class": "9", "index": 0}\n')
    assert [
        one["key"] for one in payload(page([folder], [], tmp_path / "r.html", title="t"))["classes"]
    ] == list(KEYS)
