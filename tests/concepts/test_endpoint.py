"""The endpoint over a real connection: what is sent, what comes back, and what each failure is taken for."""

import email.utils
import json
import math
import socket
import subprocess
import sys
import time

import pytest
from support.endpoint import TRANSPORT, phrases_of, serving

from potstill.concepts.answer import parse
from potstill.concepts.endpoint import Endpoint, _reply, retry_after
from potstill.concepts.language import Refused, Reply, Unavailable
from potstill.concepts.prompt import Prompt
from potstill.core.errors import PotstillError

TURNS = [{"role": "user", "content": Prompt.load("concord").ask("fish", [], 10)}]


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_what_is_sent_and_read(monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret\n")
    with serving() as server:
        model = Endpoint("some-model", base_url=server.url, key_from="MY_KEY", temperature=0.5)
        reply = model.ask(TURNS)
    assert parse(reply.text, "fish", 10).phrases == tuple(phrases_of("fish"))
    assert (reply.tokens_in, reply.tokens_out) == (100, 50)
    ((_, sent),) = server.conversations
    assert sent == {"messages": TURNS, "model": "some-model", "temperature": 0.5}
    assert server.headers[0]["authorization"] == "Bearer secret"
    assert model.provenance == {"model": "some-model", "temperature": "0.5"}


def test_a_local_server_needs_no_key_and_its_place_may_come_from_the_environment(monkeypatch):
    with serving() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert Endpoint("m").ask(TURNS).text
    assert "temperature" not in server.conversations[0][1] and Endpoint("m").provenance == {"model": "m"}


@pytest.mark.parametrize("kind", TRANSPORT)
def test_what_may_pass_is_unavailable_and_asked_once(kind):
    with serving(lambda name, nth: kind, retry_after="7") as server:
        with pytest.raises(Unavailable) as caught:
            Endpoint("m", base_url=server.url, timeout=0.2).ask(TURNS)
        assert server.asked["fish"] == 1, "the client retries by itself"
    assert caught.value.wait == (7 if kind == "429" else None)


def test_nobody_there_is_unavailable():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unavailable, match="no connection"):
        Endpoint("m", base_url=f"http://127.0.0.1:{port}/v1").ask(TURNS)


@pytest.mark.parametrize(
    ("kind", "error"), [("400", Refused), ("422", Refused), ("401", PotstillError), ("404", PotstillError)]
)
def test_what_will_not_pass_says_so(kind, error):
    with serving(lambda name, nth: kind) as server, pytest.raises(error, match=f"HTTP {kind}.*fault {kind}"):
        Endpoint("m", base_url=server.url).ask(TURNS)


def test_a_wrong_path_says_so():
    with serving() as server, pytest.raises(PotstillError, match="will not answer as model 'm': HTTP 404"):
        Endpoint("m", base_url=server.url.removesuffix("/v1")).ask(TURNS)


def test_an_answer_of_nothing_is_an_empty_text():
    with serving(lambda name, nth: "nothing") as server:
        assert Endpoint("m", base_url=server.url).ask(TURNS).text == ""


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 9}, (7, 9)),
        ({"prompt_tokens": "1e9", "completion_tokens": 9}, (0, 9)),
        ({"prompt_tokens": math.inf, "completion_tokens": None}, (0, 0)),
        (["?"], (0, 0)),
    ],
)
@pytest.mark.parametrize(
    "content", ["an answer", [{"type": "text", "text": "an "}, {"text": "answer"}, {"type": "x"}]]
)
def test_an_answer_that_was_paid_for_counts_however_its_usage_is_told(content, usage, counts):
    body = json.dumps({"choices": [{"message": {"content": content}}], "usage": usage}).encode()
    assert _reply(body) == Reply("an answer", *counts)


def test_a_refusal_is_told_and_not_asked_again():
    body = json.dumps({"choices": [{"message": {"content": None, "refusal": "I can't help with fish"}}]})
    with pytest.raises(Refused, match="the model refuses: I can't help with fish"):
        _reply(body.encode())


def test_no_part_of_the_key_is_told(monkeypatch):
    """Not even where the message is cut within the key."""
    key = "sk-" + "SECRET" * 8
    monkeypatch.setenv("OPENAI_API_KEY", key)
    for before in (0, 480, 495, 600):
        told = str(Endpoint("m", base_url="http://127.0.0.1:9")._failure(400, "x" * before + key, None, {}))
        assert "SECRET" not in told and "sk-" not in told


def test_what_is_missing_is_named(monkeypatch):
    with pytest.raises(PotstillError, match="OTHER_KEY holds no key"):
        Endpoint("m", key_from="OTHER_KEY")
    with pytest.raises(PotstillError, match="http://.*not 'localhost:8000'"):
        Endpoint("m", base_url="localhost:8000")
    monkeypatch.setenv("OTHER_KEY", "a\x1bb")
    with pytest.raises(PotstillError, match="OTHER_KEY holds characters"):
        Endpoint("m", key_from="OTHER_KEY")


def test_the_package_is_only_needed_for_an_endpoint():
    code = (
        "import sys; sys.modules['openai'] = None\n"
        "import potstill.concepts.retrieve\n"
        "from potstill.concepts.endpoint import Endpoint\n"
        "Endpoint('m')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "PotstillError" in done.stderr and "pip install 'potstill[llm]'" in done.stderr


def test_retry_after_is_seconds_or_a_date():
    now = math.floor(time.time())
    assert retry_after("2", now) == 2 and retry_after("0.25", now) == 0.25
    assert retry_after(email.utils.formatdate(now + 30, usegmt=True), now) == 30
    assert retry_after(email.utils.formatdate(now - 30, usegmt=True), now) == 0
    assert retry_after("-5", now) == 0 and retry_after("inf", now) == math.inf
    assert all(retry_after(header, now) is None for header in ("", "soon", "nan"))
