"""A real HTTP server with an OpenAI-compatible chat endpoint that answers well, badly, late or not at all."""

import hashlib
import json
import re
import select
import socket
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TRANSPORT = ("429", "500", "slow", "dropped", "truncated", "malformed", "no choices")
ANSWERS = ("wrong class", "9 phrases", "11 phrases", "overlong", "upper case", "nothing")


def quote(name):
    return json.dumps(name, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e")


def phrases_of(name, count=10):
    mark = hashlib.sha256(name.encode()).hexdigest()[:8]
    return [f"part {place} as {mark} has it" for place in range(count)]


def answer(name, phrases, echo=None):
    lines = [f"<class>{quote(name if echo is None else echo)}</class>", "<look_alikes>", "- a Twin"]
    return "\n".join([*lines, "</look_alikes>", "<phrases>", *(f"- {one}" for one in phrases), "</phrases>"])


def text_of(kind, name):
    phrases = phrases_of(name)
    return {
        "good": lambda: answer(name, phrases),
        "wrong class": lambda: answer(name, phrases, echo="some other class"),
        "9 phrases": lambda: answer(name, phrases[:9]),
        "11 phrases": lambda: answer(name, phrases_of(name, 11)),
        "overlong": lambda: answer(name, [*phrases[:9], "a" * 128]),
        "upper case": lambda: answer(name, [*phrases[:9], "Upper case start"]),
        "nothing": lambda: None,
    }[kind]()


class Endpoint(ThreadingHTTPServer):
    """Counts what it was asked and what it did; `plan(name, n)` says what the n-th request about a class meets."""

    daemon_threads, request_queue_size = True, 128

    def __init__(self, plan, delay=0.0, slow=1.0, retry_after="0.01"):
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan, self.delay, self.slow, self.retry_after = plan, delay, slow, retry_after
        self.lock, self.closing = threading.Lock(), threading.Event()
        self.asked, self.met, self.good = Counter(), Counter(), Counter()
        self.conversations, self.headers = [], []
        self.at_once = self.most_at_once = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request, client_address):
        """A client that went away is part of the game."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *words):
        pass

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        server, turns = self.server, asked["messages"]
        name = json.loads(re.search("^<class>(.*)</class>$", turns[0]["content"], re.M).group(1))
        with server.lock:
            kind = server.plan(name, server.asked[name]) if self.path == "/v1/chat/completions" else "404"
            server.asked[name] += 1
            server.met[kind] += 1
            server.conversations.append((name, asked))
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            if kind == "slow":
                select.select([self.connection], [], [], server.slow)  # or until the client hangs up
            else:
                server.closing.wait(server.delay)
        finally:
            with server.lock:
                server.at_once -= 1
        self.reply("good" if kind == "slow" else kind, name)
        if kind == "good":
            with server.lock:
                server.good[name] += 1

    def reply(self, kind, name):
        if kind == "dropped":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif kind.isdigit():
            headers = {"Retry-After": self.server.retry_after} if kind == "429" else {}
            self.send(int(kind), json.dumps({"error": {"message": f"fault {kind}"}}).encode(), headers)
        else:
            text = text_of(kind if kind not in TRANSPORT else "good", name)
            message = {"choices": [{"message": {"role": "assistant", "content": text}}]}
            usage = {"usage": {"prompt_tokens": 100, "completion_tokens": 50}}
            body = json.dumps(message | usage).encode()
            if kind == "truncated":
                self.close_connection = True
                self.send(200, body[: len(body) // 2], length=len(body))
            elif kind == "malformed":
                self.send(200, body[: len(body) // 2])
            else:
                self.send(200, json.dumps({"choices": []}).encode() if kind == "no choices" else body)

    def send(self, status, body, headers=None, length=None):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(plan=lambda name, nth: "good", **settings):
    """The endpoint, up for as long as the block lasts."""
    server = Endpoint(plan, **settings)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
