"""Figures say what the numbers say, look the same on light and dark, and lie safely in the page."""

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from typer.testing import CliRunner

from potstill.cli import app
from potstill.core.errors import PotstillError
from potstill.data import load
from potstill.distilled import DistilledSet, Manifest
from potstill.encoders import Encoder
from potstill.methods.features import load_features
from potstill.nets.store import load_net
from potstill.report.figures import Cloud, Point, Reference, curve, points, save, time_bars, tsne
from potstill.report.figures.style import INK, SHAPES, TONES
from potstill.report.figures.tsne import cloud, real_cloud
from potstill.report.page import page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = "$a_b$ <script>window.hacked = 1</script> & \u2028"


def drawn(figure):
    """The lines of a figure as they stand in it: label to x, y, low and high."""
    axes = figure.axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    found = {}
    for label, container in zip(labels, axes.containers, strict=False):
        line, _, (bars,) = container
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        found[label] = np.c_[line.get_xydata(), ends]
    return found, labels


def words(figure):
    return figure.get_supxlabel()


def test_marks_are_means_and_bars_are_t_intervals():
    values = {1: (0.5, 0.56, 0.61), 10: (0.7, 0.72, 0.71), 50: (0.8, 0.83, 0.84)}
    marks = [Point(line="a", x=x, values=own) for x, own in values.items()]
    found, labels = drawn(curve(marks, title="t", x_label="x", references=[Reference("full", (0.9, 0.92))]))
    assert labels == ["a", "full"]
    for (x, y, low, high), (place, own) in zip(found["a"], values.items(), strict=True):
        wanted = stats.t.interval(0.95, 2, np.mean(own), stats.sem(own))
        assert x == pytest.approx(place) and y == pytest.approx(100 * np.mean(own))
        assert (low, high) == pytest.approx([100 * end for end in wanted])
    figure = curve(marks, title="t", x_label="x", references=[Reference("full", (0.9, 0.92))])
    level = figure.axes[0].get_lines()[-1]
    assert list(level.get_ydata()) == pytest.approx([91, 91])
    wide, _ = drawn(curve([Point(line="a", x=1, values=(0.1, 0.9))], title="t", x_label="x"))
    assert wide["a"][0, 2:] == pytest.approx([0, 100]), "an accuracy is between 0 and 100 %"
    assert "n = 3 sets" in words(figure) and figure.axes[0].get_xscale() == "log"
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["1", "10", "50"]


def test_counts_that_differ_stand_in_the_key():
    marks = [Point(line="a", x=0, values=(0.5, 0.6)), Point(line="a", x=1, values=(0.5, 0.6, 0.7))]
    marks += [
        Point(line="b", x=0, values=(0.9,), unit="students"),
        Point(line="b", x=1, values=(0.8,), unit="students"),
    ]
    figure = curve(marks, title="t", x_label="x")
    found, labels = drawn(figure)
    assert labels == ["b (n = 1 student)", "a (n = 2 to 3 sets)"], "the line that ends highest comes first"
    assert figure.axes[0].get_xscale() == "linear" and "n =" not in words(figure)
    xs = np.array([rows[:, 0] for rows in found.values()])
    assert np.ptp(xs, axis=0).max() < 0.02 and np.abs(xs.mean(0) - [0, 1]).max() < 1e-9
    single = found["b (n = 1 student)"]
    assert np.allclose(single[:, 2], single[:, 3]), "one value has no interval"


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        ([], "nothing to draw"),
        ([Point(line="a", x=1, values=(0.5,))] * 2, "two points of 'a' lie at 1"),
        ([Point(line=str(n), x=1, values=(0.5,)) for n in range(9)], "at most 8 lines apart, not 9"),
    ],
)
def test_what_cannot_be_drawn_is_refused(marks, message):
    with pytest.raises(PotstillError, match=message):
        curve(marks, title="t", x_label="x")


def test_evaluations_become_marks(evaluation):
    held = [
        evaluation("a", [0.5, 0.7], set_seed=0, ipc=1),
        evaluation("a", [0.7, 0.9], set_seed=1, ipc=1),
        evaluation("a", [0.9, 1.0], set_seed=0, ipc=10),
    ]
    first, second = points(held)
    assert (first.line, first.x, first.unit, first.values) == (
        "a",
        1,
        "sets",
        (pytest.approx(0.6), pytest.approx(0.8)),
    )
    assert (second.x, second.unit, second.values) == (10, "students", (0.9, 1.0))
    other = evaluation("a", [0.3], set_seed=0, ipc=1, student="vit")
    assert {one.line for one in points([*held, other])} == {"a, convnet-3", "a, vit"}
    changed = evaluation("a", [0.3], ipc=1, settings={"training.epochs": 2})
    assert {one.line for one in points([*held[:2], changed])} == {"a", "a, training.epochs=2"}
    placed = points(held, {"a": ("line", 0.25)})
    assert {(one.line, one.x) for one in placed} == {
        ("line, 1 per class", 0.25),
        ("line, 10 per class", 0.25),
    }


def test_files_are_the_same_each_time_and_see_through(tmp_path):
    def draw():
        return curve([Point(line=HOSTILE, x=1, values=(0.5, 0.6))], title=HOSTILE, x_label=HOSTILE)

    first, second = save(draw(), tmp_path / "one"), save(draw(), tmp_path / "two")
    assert [file.suffix for file in first] == [".png", ".svg"]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
    pixels = np.asarray(Image.open(first[0]).convert("RGBA"))
    assert pixels[:4, :4, 3].max() == 0 and pixels[..., 3].max() == 255
    root = ElementTree.fromstring(first[1].read_bytes())
    assert not [node for node in root.iter() if node.tag.endswith(("script", "foreignObject"))]
    texts = [node.text for node in root.iter() if node.tag.endswith("}text")]
    assert sum(text == "$a_b$ <script>window.hacked = 1</script> &" for text in texts) == 3
    assert save(draw(), tmp_path / "b.png") == (tmp_path / "b.png",)
    with pytest.raises(PotstillError, match="as .png or .svg, or as both: not 'c.pdf'"):
        save(draw(), tmp_path / "c.pdf")


def linear(tone):
    channels = np.array([int(tone[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(colour):
    """CIE L*a*b* of linear sRGB, by the CIE's formulas."""
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(matrix @ np.clip(colour, 0, 1) / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


BLIND = {
    "none": np.eye(3),
    "red": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "green": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "blue": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
"""Machado et al. 2009, severity 1, on linear sRGB."""


@pytest.mark.parametrize("eyes", BLIND)
def test_colours_can_be_told_apart(eyes):
    seen = [lab(np.array(BLIND[eyes]) @ linear(tone)) for tone in TONES]
    gaps = [np.linalg.norm(one - other) for place, one in enumerate(seen) for other in seen[:place]]
    assert min(gaps) > 12
    assert len(set(SHAPES)) == len(SHAPES) == len(TONES)


@pytest.mark.parametrize("tone", [*TONES, INK])
@pytest.mark.parametrize("paper", ["#ffffff", "#16181b"])
def test_colours_stand_out_from_either_paper(tone, paper):
    light, dark = sorted((linear(one) @ [0.2126, 0.7152, 0.0722] for one in (tone, paper)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3


def manifest(name, seconds, **changes):
    facts = {
        "method": {},
        "data": {},
        "classes": {"keys": ("0",)},
        "images_per_class": 1,
        "size": 8,
        "seed": 0,
    }
    return Manifest(name=name, seconds_per_image=seconds, finished=True, **(facts | changes))


def test_bars_are_the_mean_seconds():
    held = [manifest("a", 0.2), manifest(HOSTILE, 0.4), manifest(HOSTILE, 0.6), manifest("c", 0.1)]
    figure = time_bars(held, title="t")
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.2, 0.5, 0.1])
    told = [text.get_text() for text in axes.texts]
    assert told[:3] == ["0.2 s", "0.5 s,  2.50 ×,  n = 2 sets", "0.1 s,  0.50 ×"]
    assert "0.1 s" in [text.get_text() for text in time_bars(held, title="t", baseline="c").axes[0].texts]
    with pytest.raises(PotstillError, match="unknown baseline 'd'"):
        time_bars(held, title="t", baseline="d")
    with pytest.raises(PotstillError, match="different devices do not compare: H200, cpu"):
        time_bars([*held, manifest("d", 0.1, device="H200")], title="t")


def blobs():
    """Three far groups in 16 dimensions: real images, and two sets of which the second lies in the first group only."""
    draw = np.random.default_rng(0)
    middles = 20 * np.eye(3, 16)
    real = np.repeat([0, 1, 2], 20)
    sets = [real, np.repeat([0, 1, 2], 5), np.zeros(10, np.int64)]
    return [
        Cloud(label, (middles[classes] + draw.normal(size=(len(classes), 16))).astype(np.float32), classes)
        for label, classes in zip(("real images", "both", HOSTILE), sets, strict=True)
    ]


def test_tsne_keeps_far_groups_apart_and_repeats():
    def draw():
        return tsne(blobs(), title="t", classes=("n zero", "n one", "n two"), features="f", perplexity=10)

    figure = draw()
    parts = [np.asarray(found.get_offsets()) for found in figure.axes[0].collections]
    plane, classes = np.concatenate(parts), np.concatenate([one.classes for one in blobs()])
    gaps = np.linalg.norm(plane[:, None] - plane[None], axis=-1) + np.diag(np.full(len(plane), np.inf))
    assert (classes[gaps.argmin(1)] == classes).all()
    assert [text.get_text() for text in figure.axes[0].texts][:3] == ["zero", "one", "two"]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()][1] == "both (n = 15)"
    again = [np.asarray(found.get_offsets()) for found in draw().axes[0].collections]
    assert all((one == other).all() for one, other in zip(parts, again, strict=True))


def test_tsne_refuses_what_it_cannot_place():
    few = Cloud("real images", np.zeros((3, 2), np.float32), np.zeros(3, np.int64))
    with pytest.raises(PotstillError, match="at least 4 images, not 3"):
        tsne([few], title="t", classes=("a",), features="f")
    broken = Cloud("real images", np.full((9, 2), np.nan, np.float32), np.zeros(9, np.int64))
    with pytest.raises(PotstillError, match="features of f are not all finite"):
        tsne([broken], title="t", classes=("a",), features="f")


def test_features_are_those_of_the_encoder_or_the_net():
    real = load("digits")
    seen = real_cloud(real, load_features("digits/teacher", "cpu"), per_class=2, size=32)
    assert seen.features.shape[0] == 20 and sorted(seen.classes) == sorted([*range(10)] * 2)
    images = real.train.pixels(range(3), 32)
    net = load_net("digits/teacher").module
    with torch.no_grad():
        wanted = net.embed(images.float() / 255)
        assert np.allclose(load_features("digits/teacher", "cpu").images(images), wanted, atol=1e-5)
        assert torch.allclose(net.head(wanted), net(images.float() / 255), atol=1e-5)
        clip = Encoder.from_pretrained("digits/clip").images(images.float() / 255)
    assert np.allclose(load_features("digits/clip", "cpu").images(images), clip, atol=1e-5)
    with pytest.raises(PotstillError, match="digits/teacher sees images of 32 px, these have 16 px"):
        load_features("digits/teacher", "cpu").images(images[..., :16, :16])


def test_the_command_draws_all_three(make_set, evaluation, tmp_path):
    for seed in range(2):
        folder = make_set("a", seed, changes={"seed": seed})
        evaluation("a", [0.5 + seed / 10], set_seed=seed, ipc=4).save(folder / "evaluations" / "x.json")
        evaluation("a", [0.8 + seed / 10], set_seed=seed, ipc=8).save(folder / "evaluations" / "y.json")
    run = CliRunner().invoke
    out = tmp_path / "curve.svg"
    level = tmp_path / "full.json"
    evaluation("full data", [0.95], ipc=400).save(level)
    found = run(
        app, ["figure", "curve", str(tmp_path), "--level", str(level), "--out", str(out), "--title", "T"]
    )
    assert found.exit_code == 0, found.output
    assert "full data, 400 per class" in out.read_text()
    found = run(app, ["figure", "time", str(tmp_path / "set-0-a"), "--out", str(tmp_path / "time.png")])
    assert found.exit_code == 0 and Image.open(tmp_path / "time.png").width > 800
    for words, message in (
        (["curve", str(tmp_path / "set-0-a"), "--over", "method.scale"], "holds no sweep.json"),
        (["curve", str(tmp_path / "none")], "no such file or folder"),
        (["time", str(tmp_path / "none")], "holds no finished set"),
    ):
        wrong = run(app, ["figure", *words, "--out", str(tmp_path / "o.svg")])
        assert isinstance(wrong.exception, PotstillError) and message in str(wrong.exception)


def test_a_sweep_is_drawn_along_its_field(evaluation, tmp_path):
    listed = []
    for name, weight, accuracies in (
        ("plain", None, (0.5, 0.6)),
        ("w=1", 1.0, (0.6, 0.7)),
        ("w=2", 2.0, (0.7, 0.9)),
    ):
        for seed, accuracy in enumerate(accuracies):
            file = tmp_path / f"{name}-{seed}.json"
            evaluation(name, [accuracy], set_seed=seed).save(file)
            recipe = {"name": name, "method": {} if weight is None else {"weight": weight}}
            values = {} if weight is None else {"method.weight": weight}
            arm = "plain" if weight is None else "informed"
            listed.append({"arm": arm, "values": values, "recipe": recipe, "epochs": None, "set": name + str(seed),
                           "evaluation": file.name})  # fmt: skip
    (tmp_path / "sweep.json").write_text(json.dumps({"format": 1, "points": listed}))
    out = tmp_path / "weight.svg"
    words = ["figure", "curve", str(tmp_path), "--over", "method.weight", "--out", str(out)]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 0, found.output
    texts = [
        node.text for node in ElementTree.fromstring(out.read_bytes()).iter() if node.tag.endswith("}text")
    ]
    assert {"informed", "plain", "weight", "1", "2"} <= set(texts)
    assert any("n = 2 sets" in str(text) for text in texts)


def test_a_set_becomes_a_cloud(tmp_path):
    from potstill.pipeline import distill_recipe
    from potstill.recipes import RECIPES

    recipe = replace(RECIPES["digits-random"](), images_per_class=1, witness=None)
    made = distill_recipe(recipe, tmp_path / "set")
    pixels = replace(load_features("digits/teacher", "cpu"), embed=lambda images: images.flatten(1))
    found = cloud(made, made.manifest.classes["keys"], pixels)
    assert found.label == "digits-random" and list(found.classes) == list(range(10))
    saved = DistilledSet.load(tmp_path / "set").images().flatten(1)
    assert np.array_equal(found.features, (saved.float() / 255).numpy())


def payload(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="payload">(.*?)</script>', text, re.S)[1])


@pytest.fixture
def figure_file(tmp_path):
    (file,) = save(
        curve([Point(line="a", x=1, values=(0.5, 0.6))], title=HOSTILE, x_label="x"), tmp_path / "f.svg"
    )
    return file


def test_a_page_holds_the_figures(make_set, figure_file, tmp_path):
    (tmp_path / "bare.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    out = page(
        [make_set("a")], [], tmp_path / "r.html", title="t", figures=[figure_file, tmp_path / "bare.svg"]
    )
    first, second = payload(out)["figures"]
    assert first["title"] == "$a_b$ <script>window.hacked = 1</script> &" and second["title"] == "bare"
    assert payload(page([], [], tmp_path / "e.html", title="t"))["figures"] == []
    for name, content in (("x.svg", "not xml"), ("y.svg", "<html/>")):
        (tmp_path / name).write_text(content)
        with pytest.raises(PotstillError, match=f"{name} is not an SVG file"):
            page([], [], tmp_path / "e.html", title="t", figures=[tmp_path / name])
    with pytest.raises(PotstillError, match="no such file"):
        page([], [], tmp_path / "e.html", title="t", figures=[tmp_path / "z.svg"])


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium (apt-get install chromium)")
def test_figures_show_in_a_browser(make_set, figure_file, tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    evil = tmp_path / "evil.svg"
    evil.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30" onload="top.hacked = 1">'
        '<script>top.hacked = 1</script><image href="http://192.0.2.1/x.png"/><rect width="9" height="9"/></svg>'
    )
    out = page([make_set("a")], [], tmp_path / "r.html", title="t", figures=[figure_file, evil])
    troubles, requests = [], []
    with sync_api.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.on("console", lambda message: troubles.append(message.text))
        tab.on("pageerror", lambda error: troubles.append(str(error)))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(out.as_uri())
        images = tab.locator("#figures img")
        images.first.scroll_into_view_if_needed()
        sizes = images.evaluate_all("all => all.map(one => [one.complete, one.naturalWidth, one.alt])")
        assert [size[0] for size in sizes] == [True, True] and sizes[0][1] > 400 and sizes[1][1] == 40
        assert sizes[0][2].startswith("$a_b$ <script>")
        assert tab.locator("#contents a", has_text="Figures").count() == 1
        assert tab.evaluate("window.hacked") is None
        tab.set_viewport_size({"width": 360, "height": 700})
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360
        tab.goto(page([make_set("b", 1)], [], tmp_path / "n.html", title="t").as_uri())
        assert tab.locator("#figures").is_hidden()
        browser.close()
    assert troubles == []
    assert [url for url in requests if not url.startswith(("data:", "file:"))] == []
