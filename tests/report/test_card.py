import json

import datasets
import pytest
import yaml
from markdown_it import MarkdownIt
from report.fakes import NAMES

from potstill.core.errors import PotstillError
from potstill.report.card import card, write_card


def front_matter(text):
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_front_matter_is_what_the_hub_reads(make_set):
    front, body = front_matter(card(make_set('q"uote: #1')))
    assert front["license"] == "unknown"
    assert front["pretty_name"] == 'q"uote: #1'
    assert front["task_categories"] == ["image-classification"]
    assert front["size_categories"] == ["n<1K"]
    assert "12 images made from digits (4,000 training images)" in body
    assert "4 images of 8 x 8 px for each of 3 classes" in body


def test_no_name_is_read_as_markdown_or_yaml(make_set):
    """Links, images, code, cells and control characters of somebody's names are shown, and do nothing."""
    name = "a\x7f [x](javascript:1) ![t](http://evil.example/t.png) `c` *b* | \\"
    front, body = front_matter(card(make_set(name)))
    assert front["pretty_name"] == name
    tree = MarkdownIt().enable("table").parse(body.split("## Loading")[0])
    (shown,) = (token for place, token in enumerate(tree) if tree[place - 1].type == "heading_open")
    assert {child.type for child in shown.children} <= {"text", "text_special"}
    assert shown.children and "\x7f" not in body
    assert "".join(child.content for child in shown.children) == name.replace("\x7f", "")


def test_a_licence_is_written_when_given(make_set):
    front, _ = front_matter(card(make_set("a"), license="cc-by-4.0"))
    assert front["license"] == "cc-by-4.0"


def test_random_sets_are_not_called_synthetic(make_set):
    text = card(make_set("a", kind="random", scored=False))
    assert "synthetic" not in front_matter(text)[0]["tags"]
    assert "random real images" in text


def test_settings_and_provenance_are_listed(make_set):
    text = card(make_set("a"))
    assert "| terms.0.pace.weight | 0.1 |" in text
    assert f"| digits/dit | {'ab' * 32} |" in text
    assert "| torch | 2.13.0 |" in text


def test_names_cannot_break_the_tables(make_set):
    text = card(make_set("a", changes={"classes": {"keys": ["x|y"], "names": [NAMES[1] + "\nnew line"]}}))
    assert "<script>" not in text
    assert any(line.startswith("| x\\|y | one &amp;") and "new line |" in line for line in text.splitlines())


def test_the_loading_lines_work(make_set, tmp_path, monkeypatch):
    folder = make_set("a")
    write_card(folder)
    (folder / "evaluations").mkdir()
    (folder / "evaluations/one.json").write_text(json.dumps({"name": "a"}))
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    names: dict = {}
    exec(code, names)
    assert len(names["train"]) == 12
    assert names["train"].features["label"].names == ["0", "1", "2"]
    assert names["train"][0]["image"].size == (8, 8)


def test_no_set_is_named(tmp_path):
    with pytest.raises(PotstillError, match="not a distilled set"):
        card(tmp_path)
