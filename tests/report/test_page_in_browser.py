"""The page as a reader meets it: opened from a file in a real browser."""

import re
import shutil

import pytest
from report.fakes import NAMES, PHRASES, score

from potstill.report.page import page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
]
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium (apt-get install chromium)")


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with sync_api.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def written(make_set, saved, tmp_path):
    """A page of two arms and random images, each evaluated on three sets."""
    hostile = "informed <img src=x onerror='window.hacked = 5'>"
    sets = [make_set("random", 0, kind="random", scored=False), make_set("plain", 1), make_set(hostile, 2)]
    files = []
    for name, accuracy, gap in (("random", 0.94, 0.0), ("plain", 0.9095, 0.0005), (hostile, 0.92, 0.001)):
        method = "random" if name == "random" else "guided"
        files += [saved(name, [accuracy + gap * seed], set_seed=seed, method=method) for seed in range(3)]
    files += [saved("plain", [0.5], protocol="rded@1*", settings={"epochs": 3}, method="guided")]
    return page(sets, files, tmp_path / "report.html", title="A <b>title</b>", notes=["note <i>one</i>"])


class Visit:
    """An open page that remembers every error and every request."""

    def __init__(self, context, path):
        self.troubles, self.requests = [], []
        self.page = context.new_page()
        self.page.on("console", lambda message: self.troubles.append(message.text))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def text(self, selector):
        return self.page.locator(selector).inner_text()

    def sources(self):
        return self.page.locator(".tile img").evaluate_all("all => all.map(one => one.src)")

    def tile(self, arm, index):
        return self.page.locator(f".tile[data-arm='{arm}'][data-index='{index}']")

    def selected(self):
        return self.page.locator("[role=tab][aria-selected=true]").get_attribute("id")


@pytest.fixture
def visit(browser, written):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    yield Visit(context, written)
    context.close()


def test_opens_from_a_file_without_errors_or_requests(visit, written):
    visit.page.wait_for_timeout(200)
    assert visit.troubles == []
    assert [url for url in visit.requests if not url.startswith("data:")] == [written.as_uri()]
    assert visit.page.title() == "A <b>title</b>"
    assert visit.text("h1") == "A <b>title</b>"
    assert "note <i>one</i>" in visit.text("#notes")


def test_no_text_of_a_set_becomes_markup(visit):
    for label in range(3):
        visit.page.locator(f"#class-{label}").click()
        visit.tile(2, 1).click()
        assert PHRASES[0] in visit.text("#detail") and PHRASES[1] in visit.text("#detail")
        assert visit.text("#detail h3").startswith(NAMES[label].strip() + ", image 1")
    assert visit.page.evaluate("window.hacked") is None
    assert visit.page.locator("main b:text-is('bold'), main img[onerror]").count() == 0
    assert visit.page.locator("script").count() == 2


def test_the_verdict_is_in_plain_words(visit):
    text = visit.text("#verdicts")
    assert "Gain." in text and "+1.1 points" in text and "3 pairs of sets" in text
    assert "below random real images" in text
    assert "94.0" in visit.text("#headline")


def test_another_class_shows_other_images(visit):
    before = visit.sources()
    assert len(before) == 12 and all(source.startswith("data:image/png") for source in before)
    visit.page.locator("#class-1").click()
    after = visit.sources()
    assert len(after) == 12 and not set(before) & set(after)


def test_a_click_shows_the_image_with_its_numbers(visit):
    visit.page.locator("#class-2").click()
    visit.tile(2, 3).click()
    table = visit.page.locator("#detail table")
    for phrase, text in enumerate(PHRASES):
        row = table.locator("tbody tr").nth(phrase)
        assert row.locator("th").inner_text().split() == text.split()
        cells = row.locator("td.number").all_inner_texts()
        shown = [float(re.match(r"[\d.]+", cell)[0]) for cell in cells]
        assert shown == [pytest.approx(score(arm, 2, 3, phrase), abs=6e-4) for arm in (1, 2)]
        assert [("above" in cell) for cell in cells] == [score(arm, 2, 3, phrase) > 0.4 for arm in (1, 2)]
    assert visit.text(".within-count") == "1 of 3 phrases within range"
    detail = visit.text("#detail")
    assert "teacher 97.0 %" in detail and "contrast 1.25" in detail and "seed 7" in detail
    assert "real image train/3" in detail
    assert NAMES[0] in visit.text(".negatives") and PHRASES[0] in visit.text(".negatives")


def test_bars_and_bands_are_to_scale(visit):
    visit.tile(1, 0).click()
    row = visit.page.locator("#detail tbody tr").nth(2)
    width = {arm: row.locator(f"rect.score[data-arm='{arm}']").bounding_box()["width"] for arm in (1, 2)}
    band = row.locator("rect.band").bounding_box()
    zero = row.locator("svg.bars").bounding_box()["x"]
    unit = band["width"] / 0.2
    assert band["x"] - zero == pytest.approx(0.2 * unit, rel=0.02)
    assert width == pytest.approx({arm: score(arm, 0, 0, 2) * unit for arm in (1, 2)}, rel=0.02)


def test_pointing_shows_and_leaving_returns(visit):
    visit.tile(1, 0).click()
    visit.page.mouse.move(5, 5)
    visit.page.evaluate("document.activeElement.blur()")
    visit.tile(2, 2).hover()
    assert "image 2" in visit.text("#detail h3")
    visit.page.mouse.move(5, 5)
    assert "image 0" in visit.text("#detail h3")


def test_the_keyboard_walks_images_and_classes(visit):
    visit.tile(2, 0).focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp"):
        visit.page.keyboard.press(key)
    assert "image 2" in visit.text("#detail h3") and "plain" in visit.text("#detail h3")
    visit.page.keyboard.press("Enter")
    assert visit.tile(1, 2).get_attribute("aria-pressed") == "true"
    visit.page.keyboard.press("PageDown")
    assert visit.selected() == "class-1"
    assert "image 2" in visit.text("#detail h3")

    visit.page.locator("#class-1").focus()
    visit.page.keyboard.press("ArrowRight")
    assert visit.selected() == "class-2"
    visit.page.keyboard.press("Home")
    assert visit.selected() == "class-0"

    visit.page.evaluate("document.activeElement.blur()")
    visit.page.keyboard.press("ArrowLeft")
    assert visit.selected() == "class-2"


def test_every_control_is_reached_with_tab(visit):
    reached = set()
    for _ in range(40):
        visit.page.keyboard.press("Tab")
        reached.add(
            visit.page.evaluate("(document.activeElement.className + ' ' + document.activeElement.id)")
        )
    told = " ".join(reached)
    for name in ("theme", "class-0", "tile", "scroll"):
        assert name in told
    assert sum("tile" in one for one in reached) == 1


def test_a_baseline_can_be_chosen(visit):
    chooser = visit.page.locator("#accuracy-body label", has_text="Compare with").locator("select")
    assert visit.page.locator("#accuracy-body td", has_text="baseline").count() == 1
    chooser.select_option("random")
    row = visit.page.locator("#accuracy-body tbody tr", has_text="plain")
    assert "−3.0" in row.inner_text()
    assert "below" in row.inner_text()


def test_a_changed_protocol_is_marked(visit):
    chooser = visit.page.locator("#accuracy-body label", has_text="Protocol").locator("select")
    chooser.select_option(index=1)
    assert "epochs = 3" in chooser.locator("option").nth(1).inner_text()
    assert "protocol was changed" in visit.text("#accuracy-body .warning")


def test_a_mark_of_the_score_plot_chooses_its_image(visit):
    visit.page.locator("#scores-class .dot").first.locator("circle, path").click()
    assert "image 0" in visit.text("#detail h3") and "plain" in visit.text("#detail h3")


def test_settings_can_be_cut_to_what_differs(visit):
    rows = visit.page.locator("#settings-body tbody tr:visible")
    everything = rows.count()
    visit.page.locator("#settings-body input").check()
    assert 0 < rows.count() < everything
    assert "scale" in visit.text("#settings-body tbody")


def background(visit):
    return visit.page.evaluate("getComputedStyle(document.body).backgroundColor")


def brightness(colour):
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


def test_dark_follows_the_system_and_the_switch(visit):
    light = background(visit)
    visit.page.emulate_media(color_scheme="dark")
    dark = background(visit)
    assert (
        sum(map(int, re.findall(r"\d+", dark)[:3])) < 150 < 600 < sum(map(int, re.findall(r"\d+", light)[:3]))
    )
    switch = visit.page.locator("#theme")
    switch.click()
    assert switch.inner_text() == "Theme: light" and background(visit) == light
    switch.click()
    visit.page.emulate_media(color_scheme="light")
    assert switch.inner_text() == "Theme: dark" and background(visit) == dark
    visit.page.reload()
    assert background(visit) == dark


def test_a_narrow_page_does_not_overflow(visit):
    visit.page.set_viewport_size({"width": 360, "height": 700})
    visit.page.wait_for_timeout(100)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert visit.tile(1, 0).bounding_box()["width"] >= 40


def test_a_page_made_wide_again_is_as_it_was(visit):
    before = visit.page.locator("#detail").bounding_box()
    visit.page.set_viewport_size({"width": 360, "height": 700})
    visit.page.wait_for_timeout(100)
    visit.page.set_viewport_size({"width": 1280, "height": 900})
    visit.page.wait_for_timeout(100)
    assert visit.page.locator("#detail").bounding_box() == before


@pytest.mark.parametrize("what", ["set alone", "evaluations alone", "nothing", "many classes"])
def test_partial_pages_open(browser, make_set, saved, tmp_path, what):
    many = {"classes": {"keys": [str(key) for key in range(40)]}, "images_per_class": 1}
    sets = {
        "set alone": lambda: [make_set("a")],
        "many classes": lambda: [make_set("a", kind="random", scored=False, changes=many)],
    }
    files = [saved("a", [0.5]), saved("b", [0.6])] if what == "evaluations alone" else []
    out = page(sets.get(what, list)(), files, tmp_path / "r.html", title=what)
    context = browser.new_context()
    visit = Visit(context, out)
    assert visit.text("h1") == what and visit.troubles == []
    if what == "many classes":
        visit.page.locator("#classes button").last.click()
        assert visit.page.locator("#classes select").evaluate("menu => menu.selectedIndex") == 1
    context.close()


def test_a_difference_that_the_correction_undoes_says_so(browser, make_set, saved, tmp_path):
    """Three pairs with t = 5.6 on 2 degrees: p = 0.031 alone and twice that beside another comparison."""
    sets, files = [], []
    middle = {"random": (0.0, 0.0, 0.0), "plain": (-0.009, -0.006, -0.0115), "other": (-0.02, 0.02, -0.03)}
    for place, (name, gaps) in enumerate(middle.items()):
        kind = {"kind": "random", "scored": False} if name == "random" else {}
        sets.append(make_set(name, place, **kind))
        method = "random" if name == "random" else "guided"
        files += [saved(name, [0.9 + gap], set_seed=seed, method=method) for seed, gap in enumerate(gaps)]
    context = browser.new_context()
    visit = Visit(context, page(sets, files, tmp_path / "report.html", title="t"))
    aside = visit.text(".verdict.aside")
    assert "plain, is below random real images of the same number before correction: -0.9" in aside.replace(
        "\N{MINUS SIGN}", "-"
    )
    visit.page.get_by_label("Compare with").select_option("random")
    row = visit.page.locator("#accuracy-body tr", has_text="plain").inner_text()
    assert "below before correction" in row
    assert "undefined" not in visit.text("body") and "NaN" not in visit.text("body")
    context.close()
