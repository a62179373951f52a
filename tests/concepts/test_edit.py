"""Editing a bank: over real requests, in a real browser, and through kills."""

import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from potstill.cli import app
from potstill.concepts import ConceptBank
from potstill.concepts.check import check
from potstill.concepts.editing import EditSession
from potstill.concepts.editing.actions import Actions
from potstill.concepts.editing.seen import Seen
from potstill.concepts.editing.server import LARGEST, EditServer
from potstill.concepts.ledger import Ledger
from potstill.core.errors import PotstillError
from potstill.core.lock import alone_with
from potstill.encoders import Encoder

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
HOSTILE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
QUOTES = 'it\'s a "tail" & </script> 🐟 ${style} \\u003c'


@pytest.fixture(scope="module")
def encoder(tiny_clip):
    return Encoder.from_pretrained(tiny_clip)


@pytest.fixture(scope="module")
def seen(encoder, few):
    return Seen(encoder, few)


@pytest.fixture
def file(tmp_path):
    """The digits' bank with a hostile class among its ten; three of them have images in `few`."""
    bank = ConceptBank.load("digits")
    three = replace(
        bank.entries["3"], class_name=HOSTILE, concepts=(HOSTILE, QUOTES, *bank.entries["3"].concepts[:3])
    )
    ConceptBank("mine", {**bank.entries, "3": three}).save(tmp_path / "mine.jsonl")
    return tmp_path / "mine.jsonl"


@contextmanager
def serving(session, seen):
    with EditServer(Actions(session, seen)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()


@pytest.fixture
def server(file, seen):
    with serving(EditSession(str(file)), seen) as running:
        yield running


def send(server, method, path, body=b"", **changes):
    """One request as the page would send it, but for `changes` of its headers (None: without it)."""
    headers = {"Host": server.hosts[0], "X-Potstill-Token": server.token, "Content-Length": str(len(body))}
    if method == "POST":
        headers["Origin"] = f"http://{server.hosts[0]}"
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    talk = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    talk.putrequest(method, path, skip_host=True)
    for name, value in headers.items():
        if value is not None:
            talk.putheader(name, value)
    talk.endheaders(body)
    reply = talk.getresponse()
    content = reply.read()
    talk.close()
    return SimpleNamespace(status=reply.status, headers=reply.headers, content=content)


def ask(server, action, **asked):
    reply = send(server, "POST", f"/api/{action}", json.dumps(asked).encode())
    told = json.loads(reply.content)
    if reply.status != 200:
        raise PotstillError(told["error"])
    return told


def phrases(file, key):
    return ConceptBank.load(str(file)).entries[key].concepts


# -- who is let in ----------------------------------------------------------------------------------------------------


def test_only_this_address_is_bound(server):
    assert server.socket.getsockname()[0] == "127.0.0.1"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", server.server_port), timeout=2)


PLACES = [
    ("GET", "/"),
    ("GET", "/image/0"),
    ("GET", "/nowhere"),
    ("POST", "/api/bank"),
    ("POST", "/api/save"),
]


@pytest.mark.parametrize(("method", "path"), PLACES)
@pytest.mark.parametrize("token", [None, "", "wrong", "caf\u00e9", "right, but in the address"])
def test_no_place_is_open_without_the_token(server, method, path, token):
    address = {"right, but in the address": f"?token={server.token}", None: ""}.get(token, f"?token={token}")
    if path == "/" and token == "right, but in the address":
        address = f"?token={server.token[:-1]}"
    header = (
        {} if path == "/" else {"X_Potstill_Token": token and token.replace("right, but in the address", "")}
    )
    reply = send(server, method, path + address.replace("\u00e9", "%C3%A9"), b"{}", **header)
    assert reply.status == 403 and server.token not in reply.content.decode()


@pytest.mark.parametrize(("method", "path"), PLACES)
@pytest.mark.parametrize(
    "host", [None, "evil.example", "evil.example:PORT", "127.0.0.1", "127.0.0.1:PORT.evil.example"]
)
def test_another_host_name_is_refused(server, method, path, host):
    host = host and host.replace("PORT", str(server.server_port))
    reply = send(server, method, f"{path}?token={server.token}", b"{}", Host=host)
    assert reply.status == 403 and b"host" in reply.content


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://127.0.0.1", "https://127.0.0.1:PORT"]
)
def test_a_write_from_elsewhere_is_refused(server, file, origin):
    before, origin = file.read_bytes(), origin and origin.replace("PORT", str(server.server_port))
    edit = json.dumps({"key": "2", "was": phrases(file, "2"), "phrases": ["a tail"]}).encode()
    assert send(server, "POST", "/api/edit", edit, Origin=origin).status == 403
    assert send(server, "POST", "/api/save", b"{}", Origin=origin).status == 403
    assert ask(server, "bank")["changed"] == [] and file.read_bytes() == before


ELSEWHERE = [
    "/../etc/passwd",
    "/image/../../etc/passwd",
    "/image/%2e%2e/x",
    "/image/1.5",
    "/image/-1",
    "/image/١",
]


@pytest.mark.parametrize(
    "path", [*ELSEWHERE, "/image/999999999", "/edit.js", "/static/edit.js", "//evil/", "/api/"]
)
def test_there_is_no_other_place(server, path):
    for method in ("GET", "POST"):
        raw = path.encode().decode("latin-1")
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as talk:
            talk.sendall(
                f"{method} {raw} HTTP/1.0\r\nHost: {server.hosts[0]}\r\nX-Potstill-Token: {server.token}\r\n"
                f"Origin: http://{server.hosts[0]}\r\n\r\n".encode("latin-1")
            )
            assert talk.makefile("rb").readline().split()[1] == b"404"


def test_requests_that_are_no_words_are_refused(server):
    for body, status in (
        (b"", 400),
        (b"[]", 400),
        (b"{", 400),
        (b'{"keys": ""}', 400),
        (b'{"key": 3}', 400),
        (b"\xff", 400),
    ):
        assert send(server, "POST", "/api/class", body).status == status
    assert send(server, "POST", "/api/class", b"[" * 100_000).status == 400
    for length in (str(LARGEST + 1), "-1", "many", "9" * 5000):
        assert send(server, "POST", "/api/class", Content_Length=length).status == 413
    assert send(server, "PUT", "/api/class").status == 501
    assert ask(server, "class", key="2")["entry"]["key"] == "2"


def test_the_page_allows_its_own_script_alone_and_is_not_kept(server):
    reply = send(server, "GET", f"/?token={server.token}", X_Potstill_Token=None)
    policy = reply.headers["Content-Security-Policy"]
    assert reply.status == 200 and policy.startswith("default-src 'none'") and "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy and reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["Referrer-Policy"] == "no-referrer"
    assert (
        not re.search(rb'(?:src|href)="(?!data:)', reply.content)
        and server.token.encode() not in reply.content
    )


# -- what is seen -----------------------------------------------------------------------------------------------------


def test_validity_is_that_of_check(server, file, encoder, few):
    for row in check(str(file), encoder, few):
        values = ask(server, "validity", key=row.key, phrases=phrases(file, row.key))
        told = dict(zip(phrases(file, row.key), values, strict=True))
        assert [told[phrase] for phrase in row.phrases] == list(row.validity)
    alone = ask(server, "validity", key="2", phrases=["another tail"])
    joined = ask(server, "validity", key="2", phrases=["one more", "another tail"])
    assert joined[1] == pytest.approx(alone[0], abs=1e-6)


@pytest.mark.parametrize("of", ["2", "5"])
def test_highest_and_lowest_are_those_of_every_image_scored_alone(server, encoder, few, of):
    """The slow way: one image at a time, the cosine in float64. A class of 400 images shows its sample of 200."""
    from potstill.concepts.space import sample_of_class

    rows = sample_of_class(few, few.classes.index(of))
    text = encoder.texts(["handwritten two with flat horizontal base stroke"])[0].double()
    scores = {}
    for row in rows:
        pixels = few.train.pixels([row], 32).float() / 255
        with torch.no_grad():
            image = encoder.images(pixels)[0].double()
        scores[row] = float(image @ text / (image.norm() * text.norm()))
    slow = sorted(scores, key=lambda row: -scores[row])
    told = ask(server, "ranked", key="2", phrases=["flat horizontal base stroke"], of=of)
    assert [one["row"] for one in told["highest"]] == slow[:6]
    assert [one["row"] for one in told["lowest"]] == slow[::-1][:6]
    for one in told["highest"] + told["lowest"]:
        assert one["score"] == pytest.approx(scores[one["row"]], abs=1e-5)
        assert one["id"] == few.train.ids[one["row"]]


def test_a_few_images_are_not_shown_twice(file, encoder, few):
    held = torch.cat([few.train.of_class(0)[:8], few.train.of_class(1)[:3], few.train.of_class(2)])
    with serving(EditSession(str(file)), Seen(encoder, replace(few, train=few.train.take(held)))) as server:
        for of, (high, low) in {"2": (6, 2), "3": (3, 0)}.items():
            told = ask(server, "ranked", key="2", phrases=["a tail"], of=of)
            assert (len(told["highest"]), len(told["lowest"])) == (high, low)
            assert len({one["row"] for part in told.values() for one in part}) == high + low


def test_the_nearest_classes_have_images_and_another_name(file, encoder, few, server):
    names = [entry.class_name for entry in ConceptBank.load(str(file)).entries.values()]
    cosines = encoder.texts(names) @ encoder.texts(["handwritten two"])[0]
    wanted = sorted(["3", "5"], key=lambda key: -float(cosines[int(key)]))
    assert ask(server, "near", key="2") == wanted
    file.write_text(file.read_text().replace('"handwritten five", "look', '"handwritten two", "look'))
    with serving(EditSession(str(file)), Seen(encoder, few)) as other:
        assert ask(other, "near", key="2") == ["3"]


def test_a_thumbnail_is_the_image(server, few):
    reply = send(server, "GET", "/image/7")
    shown = Image.open(io.BytesIO(reply.content))
    assert reply.headers["Content-Type"] == "image/png" and shown.tobytes() == few.train.read(7).tobytes()


def test_a_large_photo_is_cropped_and_made_small(encoder, few):
    photo = Image.new("RGB", (900, 300), "red")
    photo.paste("blue", (290, 0, 610, 300))
    train = replace(few.train, read=lambda row: photo)
    shown = Image.open(io.BytesIO(Seen(encoder, replace(few, train=train)).thumbnail(0)))
    assert shown.size == (192, 192) and shown.getcolors() == [(192 * 192, (0, 0, 255))]


def test_a_class_without_images_is_edited_without_validity(server, file):
    assert ask(server, "edit", key="9", was=phrases(file, "9"), phrases=["a tail"])["entry"]["phrases"] == [
        "a tail"
    ]
    with pytest.raises(PotstillError, match="digits has no images of class '9'"):
        ask(server, "validity", key="9", phrases=["a tail"])
    with pytest.raises(PotstillError, match="unknown class 'none'"):
        ask(server, "class", key="none")


# -- edits ------------------------------------------------------------------------------------------------------------

WRONG = {
    "at least one": [],
    "must not be empty": ["a tail", "  "],
    "stands twice": ["a tail", "a tail "],
    "127 are allowed": ["a" * 128],
    "cannot be printed": ["a line\u2028and another"],
}


@pytest.mark.parametrize("verb", ["validity", "ranked"])
def test_no_phrases_have_no_scores(server, verb):
    with pytest.raises(PotstillError, match="at least one phrase"):
        ask(server, verb, key="2", phrases=[])


@pytest.mark.parametrize("message", WRONG)
def test_what_a_bank_must_not_hold_is_refused(server, file, message):
    with pytest.raises(PotstillError, match=message):
        ask(server, "edit", key="2", was=phrases(file, "2"), phrases=WRONG[message])
    assert ask(server, "class", key="2")["steps"] == 0


def test_an_edit_of_what_is_no_longer_there_is_refused(server, file):
    was = phrases(file, "2")
    ask(server, "edit", key="2", was=was, phrases=["a" * 127])
    with pytest.raises(PotstillError, match="changed meanwhile"):
        ask(server, "edit", key="2", was=was, phrases=["a tail"])


def test_save_marks_what_was_edited_and_keeps_the_rest(server, file):
    before = ConceptBank.load(str(file)).entries
    lines = file.read_text().splitlines()
    ask(server, "edit", key="2", was=before["2"].concepts, phrases=["a tail", QUOTES])
    ask(server, "edit", key="5", was=before["5"].concepts, phrases=["a tail"])
    assert ask(server, "undo")["entry"]["phrases"] == list(before["5"].concepts)
    assert file.with_name("mine.jsonl.draft").exists() and file.read_text().splitlines() == lines
    assert ask(server, "save")["changed"] == []
    saved = ConceptBank.load(str(file)).entries
    assert saved["2"] == replace(
        before["2"], concepts=("a tail", QUOTES), provenance={"edited": date.today().isoformat()}
    )
    assert [line for place, line in enumerate(file.read_text().splitlines()) if place != 2] == lines[
        :2
    ] + lines[3:]
    assert os.listdir(file.parent) == ["mine.jsonl"]
    assert ask(server, "undo")["changed"] == ["2"], "undo reaches back behind the save"


def test_a_file_that_changed_on_disk_is_not_overwritten(server, file, seen):
    was = phrases(file, "2")
    ask(server, "edit", key="2", was=was, phrases=["a tail"])
    file.write_text(file.read_text().replace("handwritten one", "handwritten I"))
    theirs = file.read_bytes()
    with pytest.raises(PotstillError, match="changed on disk since it was opened, so nothing was written"):
        ask(server, "save")
    assert file.read_bytes() == theirs
    again = EditSession(str(file))
    assert again.stale and again.offer is not None
    again.answer_offer(True)
    again.save()
    assert phrases(file, "2") == ("a tail",) and "handwritten I" in file.read_text()


def test_a_bank_is_edited_or_filled_by_one_process(file):
    """Neither a second page nor a retrieval may take a bank from under a first page."""
    words = ["concepts", "edit", "--bank", str(file), "--data", "digits", "--encoder", "digits/clip"]
    with alone_with(file):
        done = CliRunner().invoke(app, words)
        assert f"{file} is being filled by process {os.getpid()}" in str(done.exception)
        with pytest.raises(PotstillError, match="is being filled by process"), Ledger(file):
            pass


def test_a_draft_that_was_lost_is_written_again_before_it_is_named(server, file):
    ask(server, "edit", key="2", was=phrases(file, "2"), phrases=["a tail"])
    draft = file.with_name("mine.jsonl.draft")
    draft.unlink()
    file.write_text(file.read_text() + "\n")
    with pytest.raises(PotstillError, match="Your edits are kept in"):
        ask(server, "save")
    assert json.loads(draft.read_text())["phrases"] == {"2": ["a tail"]}


def test_a_file_that_vanished_is_not_written_again(server, file):
    ask(server, "edit", key="2", was=phrases(file, "2"), phrases=["a tail"])
    file.unlink()
    with pytest.raises(PotstillError, match="changed on disk"):
        ask(server, "save")


def test_where_a_bank_may_be_saved(tmp_path, file):
    with pytest.raises(PotstillError, match="the shipped bank 'digits' stays as it is: name an --out"):
        EditSession("digits")
    with pytest.raises(PotstillError, match=f"to go on in it, give --bank {file}"):
        EditSession("digits", file)
    session = EditSession("digits", tmp_path / "own.jsonl")
    session.edit("2", session.entry("2").concepts, ["a tail"])
    (tmp_path / "own.jsonl").write_text("someone else's")
    with pytest.raises(PotstillError, match="changed on disk"):
        session.save()
    (tmp_path / "own.jsonl").unlink()
    session.save()
    assert phrases(tmp_path / "own.jsonl", "2") == ("a tail",)


def test_nothing_is_edited_before_a_draft_is_answered(file):
    session = EditSession(str(file))
    session.edit("2", session.entry("2").concepts, ["a tail"])
    again = EditSession(str(file))
    for forbidden in (lambda: again.edit("5", again.entry("5").concepts, ["b"]), again.save):
        with pytest.raises(PotstillError, match="first take up or throw away"):
            forbidden()
    again.answer_offer(False)
    assert again.entry("2") == ConceptBank.load(str(file)).entries["2"] and not again.draft.exists()


def test_a_draft_of_what_is_saved_already_is_no_draft(file):
    session = EditSession(str(file))
    session.edit("2", session.entry("2").concepts, ["a tail"])
    kept = session.draft.read_bytes()
    session.save()
    session.draft.write_bytes(kept)  # as a kill between the two leaves it
    assert EditSession(str(file)).offer is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ('{"of": "x"}', "lacks phrases"),
        ('{"of": "", "phrases": {"x": ["a"]}}', "class 'x'"),
    ],
)
def test_a_broken_draft_is_named_and_kept(file, text, message):
    draft = file.with_name("mine.jsonl.draft")
    draft.write_text(text)
    with pytest.raises(PotstillError, match=message) as told:
        EditSession(str(file))
    assert str(draft) in str(told.value) and draft.read_text() == text


# -- the command ------------------------------------------------------------------------------------------------------


@contextmanager
def command(*words):
    """The command as a process, and what its address leads to."""
    line = [sys.executable, "-m", "potstill", "concepts", "edit", "--no-open", *map(str, words)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline()
            found = re.fullmatch(r"http://(127\.0\.0\.1:(\d+))/\?token=([\w-]{43})\n", url)
            assert found, process.stderr.read()
            host, port, token = found.groups()
            yield process, SimpleNamespace(hosts=[host], server_port=int(port), token=token)
        finally:
            process.kill()


def test_an_interrupt_ends_well_and_keeps_the_draft(tiny_clip, file):
    was = phrases(file, "2")
    line = [sys.executable, "-m", "potstill", "concepts", "edit", "--bank", file, "--data", "digits"]
    line += ["--encoder", tiny_clip, "--classes", "2,3,5", "--no-open"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            found = re.fullmatch(
                r"http://(127\.0\.0\.1:(\d+))/\?token=([\w-]{43})\n", process.stdout.readline()
            )
            assert found, process.stderr.read()
            server = SimpleNamespace(hosts=[found[1]], server_port=int(found[2]), token=found[3])
            ask(server, "edit", key="2", was=was, phrases=["a tail", *was])
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0 and "unsaved edits are kept in" in process.stderr.read()
        finally:
            process.kill()
    session = EditSession(str(file))
    assert session.offer is not None and not session.stale
    session.answer_offer(True)
    assert session.entry("2").concepts == ("a tail", *was) and phrases(file, "2") == was


EDITING = """
import sys
import time
from potstill.concepts.editing import EditSession
session = EditSession(sys.argv[1])
for number in range(100000):
    session.edit("2", session.entry("2").concepts, [f"{place} of edit {number}" for place in range(200)])
    print(number, flush=True)
"""


def test_a_kill_loses_nothing(file):
    """Killed in the midst of edits, the draft is whole and holds the last edit that was told to be kept."""
    with subprocess.Popen(
        [sys.executable, "-c", EDITING, file], stdout=subprocess.PIPE, text=True
    ) as process:
        for _ in range(40):
            told = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        told = max([told, *map(int, process.stdout.read().split())])
    session = EditSession(str(file))
    session.answer_offer(True)
    assert session.steps == 1
    held = session.entry("2").concepts
    (number,) = {int(phrase.split()[-1]) for phrase in held}
    assert number in (told, told + 1) and len(held) == 200


# -- the page ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with sync_api.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield opened
        opened.close()


@contextmanager
def visiting(browser, server):
    """The page, open; fails at the end where the browser complained or a request went elsewhere."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.troubles, page.urls = [], []
    page.on("console", lambda message: page.troubles.append(message.text))
    page.on("pageerror", lambda error: page.troubles.append(str(error)))
    page.on("request", lambda request: page.urls.append(request.url))
    page.goto(server.url)
    page.wait_for_selector("#classes option")
    yield page
    context.close()
    own = f"http://{server.hosts[0]}/"
    assert [url for url in page.urls if not url.startswith((own, f"blob:{own}", "data:"))] == []
    assert [url for url in page.urls if server.token in url] == [server.url], (
        "the token stands in one address"
    )


@pytest.fixture
def page(browser, server):
    with visiting(browser, server) as opened:
        yield opened


def choose(page, key):
    page.locator("#classes").select_option(key)
    page.wait_for_function(
        "key => document.getElementById('about').textContent.startsWith('key ' + key)", arg=key
    )


def shown(page):
    return page.locator("button.phrase").all_inner_texts()


def line(page, phrase):
    return page.locator("li", has=page.get_by_role("button", name=phrase, exact=True))


def act(page, phrase, name):
    line(page, phrase).locator(f"[data-act={name}]").click()


def told(page, text):
    page.wait_for_function("text => document.getElementById('state').textContent.includes(text)", arg=text)


def settled(page, wanted):
    """Waits until the page shows these phrases, each with a number."""
    page.wait_for_function(
        """wanted => { const all = (one) => [...document.querySelectorAll(one)].map((node) => node.textContent);
            return JSON.stringify(all('button.phrase')) === JSON.stringify(wanted)
                && all('.number').every((text) => /\\d/.test(text)); }""",
        arg=list(wanted),
    )


def test_edits_in_the_page_stand_in_the_file(page, server, file, encoder, few):
    choose(page, "2")
    was = phrases(file, "2")
    settled(page, was)
    act(page, was[1], "up")
    settled(page, [was[1], was[0], *was[2:]])
    act(page, was[3], "drop")
    act(page, was[4], "reword")
    page.get_by_label("New words for").fill("a new stroke, reworded")
    page.keyboard.press("Enter")
    page.locator("#new").fill("a phrase, added")
    page.keyboard.press("Enter")
    act(page, was[9], "drop")
    page.locator("#undo").click()
    wanted = (was[1], was[0], was[2], "a new stroke, reworded", *was[5:], "a phrase, added")
    settled(page, wanted)
    told(page, "1 class edited, not saved yet")
    assert phrases(file, "2") == was
    page.locator("#save").click()
    told(page, f"saved to {file}")
    assert phrases(file, "2") == wanted and page.troubles == []
    row = next(row for row in check(str(file), encoder, few) if row.key == "2")
    for phrase, value in zip(row.phrases, row.validity, strict=True):
        assert line(page, phrase).locator(".number").inner_text() == f"{value:.3f}".replace(
            "-", "\N{MINUS SIGN}"
        )


def answer_late(server):
    """Lets every edit take a second."""
    real = server.actions.table["edit"]
    server.actions.table["edit"] = lambda asked: (time.sleep(1.0), real(asked))[1]


def test_an_answer_that_comes_late_takes_no_words_from_under_the_pen(page, server, file):
    answer_late(server)
    choose(page, "2")
    was = phrases(file, "2")
    settled(page, was)
    act(page, was[3], "drop")
    act(page, was[4], "reword")
    pen = page.get_by_label("New words for")
    pen.fill("half a th")
    settled(page, [*was[:3], *was[5:]])  # without the one dropped, and the one under the pen
    assert pen.input_value() == "half a th" and pen.evaluate("node => node === document.activeElement")
    page.keyboard.type("ought")
    page.keyboard.press("Enter")
    settled(page, [*was[:3], "half a thought", *was[5:]])
    act(page, was[5], "reword")
    page.keyboard.press("Enter")
    settled(page, [*was[:3], "half a thought", *was[5:]])
    assert page.troubles == []


def test_an_answer_that_comes_late_leaves_the_writer_where_she_is(page, server, file):
    answer_late(server)
    choose(page, "2")
    was = phrases(file, "2")
    settled(page, was)
    act(page, was[4], "reword")
    page.get_by_label("New words for").fill("reworded")
    page.keyboard.press("Enter")
    field = page.locator("#new")
    field.fill("added fir")
    settled(page, [*was[:4], "reworded", *was[5:]])
    page.keyboard.type("st")
    page.keyboard.press("Enter")
    field.fill("added sec")
    settled(page, [*was[:4], "reworded", *was[5:], "added first"])
    page.keyboard.type("ond")
    page.keyboard.press("Enter")
    settled(page, [*was[:4], "reworded", *was[5:], "added first", "added second"])
    assert field.input_value() == "" and page.troubles == []


def test_undo_goes_to_the_class_that_it_changes(page, file):
    choose(page, "2")
    was = phrases(file, "2")
    settled(page, was)
    act(page, was[0], "drop")
    settled(page, was[1:])
    act(page, was[1], "drop")
    settled(page, was[2:])
    choose(page, "3")
    page.locator("#undo").click()
    settled(page, was[1:])
    assert page.locator("#classes").input_value() == "2"
    choose(page, "3")
    assert page.troubles == []


def test_the_page_shows_the_images_of_a_phrase(page, server, file, few):
    choose(page, "5")
    phrase = phrases(file, "5")[2]
    page.get_by_role("button", name=phrase, exact=True).click()
    page.wait_for_selector("#images[data-done]")
    own = ask(server, "ranked", key="5", phrases=[phrase], of="5")
    others = [
        one for of in ("2", "3") for one in ask(server, "ranked", key="5", phrases=[phrase], of=of)["highest"]
    ]
    wanted = {**own, "others": sorted(others, key=lambda one: -one["score"])[:6]}
    for part, images in wanted.items():
        figures = page.locator(f"[data-part={part}] figure")
        assert figures.evaluate_all("all => all.map(one => Number(one.dataset.row))") == [
            one["row"] for one in images
        ]
        page.wait_for_function(
            "part => [...document.querySelectorAll(`[data-part=${part}] img`)].every(one => one.naturalWidth === 32)",
            arg=part,
        )
    drawn = page.locator("[data-part=lowest] img").first.evaluate(
        """img => { const canvas = document.createElement('canvas'); canvas.width = canvas.height = 32;
            const pen = canvas.getContext('2d'); pen.drawImage(img, 0, 0);
            return [...pen.getImageData(0, 0, 32, 32).data].filter((_, place) => place % 4 === 0); }"""
    )
    assert drawn == few.train.pixels([own["lowest"][0]["row"]], 32)[0, 0].flatten().tolist()
    assert page.troubles == []


def test_no_word_of_a_bank_becomes_markup(page, file):
    choose(page, "3")
    settled(page, phrases(file, "3"))
    assert page.locator("h1").inner_text() == HOSTILE and shown(page)[:2] == [HOSTILE, QUOTES]
    assert page.locator("#classes option").nth(3).text_content() == HOSTILE
    line(page, HOSTILE).locator("button.phrase").click()
    page.wait_for_selector("#images[data-done]")
    act(page, HOSTILE, "down")
    settled(page, [QUOTES, HOSTILE, *phrases(file, "3")[2:]])
    choose(page, "2")
    page.locator("#new").fill(HOSTILE)
    page.keyboard.press("Enter")
    page.get_by_role("button", name=HOSTILE, exact=True).click()
    page.wait_for_selector("#images[data-done]")
    assert HOSTILE in page.locator("[data-part=others]").inner_text()
    assert page.evaluate("window.hacked") is None and page.locator("script").count() == 1
    assert page.locator("img[onerror]").count() == 0 and page.troubles == []


def test_the_keyboard_moves_a_phrase_all_the_way(page, file):
    choose(page, "2")
    was = phrases(file, "2")
    line(page, was[0]).locator("[data-act=down]").focus()
    for place in range(1, 10):
        page.keyboard.press("Enter")
        settled(page, [*was[1 : place + 1], was[0], *was[place + 1 :]])
    focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused == f"Move up: {was[0]}", "at the end the way back has the focus"


def test_quick_clicks_are_all_taken(page, file):
    choose(page, "2")
    was = phrases(file, "2")
    button = line(page, was[9]).locator("[data-act=up]")
    button.evaluate("one => { for (let n = 0; n < 4; n++) one.click(); }")
    settled(page, [*was[:5], was[9], *was[5:9]])


def test_wrong_words_are_told_and_nothing_is_lost(page, file):
    choose(page, "2")
    was = phrases(file, "2")
    page.locator("#new").fill(was[3])
    page.keyboard.press("Enter")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "stands twice" in page.locator("#trouble").inner_text() and tuple(shown(page)) == was
    act(page, was[0], "reword")
    page.get_by_label("New words for").fill("")
    page.keyboard.press("Escape")
    assert tuple(shown(page)) == was


def test_classes_are_found_by_name_and_key(page):
    page.locator("#search").fill("FIVE")
    assert page.locator("#classes option").all_text_contents() == ["handwritten five"]
    page.locator("#search").fill("9")
    page.locator("#classes").select_option("9")
    page.wait_for_function(
        "document.getElementById('about').textContent.includes('no images of it in the data')"
    )


@pytest.mark.parametrize("take", [True, False])
def test_a_draft_is_offered(browser, file, seen, take):
    old = EditSession(str(file))
    old.edit("0", old.entry("0").concepts, ["a ring"])
    with serving(EditSession(str(file)), seen) as server, visiting(browser, server) as page:
        assert "1 class." in page.locator("#offer").inner_text()
        page.keyboard.press("Escape")
        with page.expect_response("**/api/draft"):
            page.locator("#take" if take else "#throw").click()
        told(page, "1 class edited" if take else "no unsaved edits")
        assert (shown(page) == ["a ring"]) == take and old.draft.exists() == take
        assert (
            page.locator("#classes option").first.text_content()
            == ("• " if take else "") + "handwritten zero"
        )


def test_a_stopped_command_is_told(browser, file, seen):
    with serving(EditSession(str(file)), seen) as server:
        context = browser.new_context()
        page = context.new_page()
        page.goto(server.url)
        page.wait_for_selector("#classes option")
    page.locator("#classes").select_option("5")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "The command has stopped" in page.locator("#trouble").inner_text()
    context.close()


def test_a_thousand_classes_open_at_once(browser, encoder, few, tmp_path):
    bank = ConceptBank.load("imagenet1k").entries
    digits = ConceptBank.load("digits").entries
    ConceptBank("all", {**digits, **bank}).save(tmp_path / "all.jsonl")
    fresh = Seen(encoder, few)
    with (
        serving(EditSession(str(tmp_path / "all.jsonl")), fresh) as server,
        visiting(browser, server) as page,
    ):
        assert page.locator("#classes option").count() == 1010
    assert not fresh._images, "nothing is computed before it is asked for"


def test_a_narrow_page_does_not_overflow(page, file):
    page.set_viewport_size({"width": 360, "height": 700})
    choose(page, "3")
    settled(page, phrases(file, "3"))
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
