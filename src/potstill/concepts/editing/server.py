"""The edit session as a page of this machine: loopback only, a token in every request, no script but its own."""

import base64
import hashlib
import json
import re
import secrets
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from string import Template
from typing import Any, cast
from urllib.parse import parse_qs

from potstill.concepts.editing.actions import Actions, Asked
from potstill.core.errors import PotstillError
from potstill.core.palette import palette
from potstill.core.settings import from_plain, to_plain

LOOPBACK = "127.0.0.1"
TOKEN = "X-Potstill-Token"
LARGEST = 1 << 20
"""Bytes of a request."""


class EditServer(ThreadingHTTPServer):
    """Serves one edit session at `url`, which holds the token; port 0 takes a free one.

    Every request must name this host (so that no foreign name can be bound to it) and bring the token: the page in
    its address, all others in a header. Whatever can change something must also come from the page's own origin.
    Raises PotstillError for a port that is taken.
    """

    def __init__(self, actions: Actions, port: int = 0) -> None:
        self.actions, self.token = actions, secrets.token_urlsafe(32)
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except (OSError, OverflowError) as error:
            raise PotstillError(f"cannot listen on port {port}: {error}") from None
        self.hosts = tuple(f"{name}:{self.server_port}" for name in (LOOPBACK, "localhost"))
        self.page, self.policy = _page()

    @property
    def url(self) -> str:
        """The address of the page, with the token."""
        return f"http://{self.hosts[0]}/?token={self.token}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Passes over a browser that hangs up."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Refused(Exception):
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    timeout = 30
    server_version, sys_version = "potstill", ""

    def do_GET(self) -> None:
        self._reply()

    def do_POST(self) -> None:
        self._reply()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    @property
    def _owner(self) -> EditServer:
        return cast(EditServer, self.server)

    def _reply(self) -> None:
        status, kind = 200, "application/json"
        try:
            body = self._body()
            path, _, query = self.path.partition("?")
            self._admit(path, query)
            kind, content = (
                self._page_or_image(path) if self.command == "GET" else (kind, self._act(path, body))
            )
        except _Refused as refused:
            status, content = refused.status, _json({"error": str(refused)})
        except PotstillError as error:
            status, content = 400, _json({"error": str(error)})
        self._send(status, kind, content)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if not re.fullmatch("[0-9]{1,7}", length) or int(length) > LARGEST:
            raise _Refused(413, f"a request has at most {LARGEST} bytes")
        return self.rfile.read(int(length))

    def _admit(self, path: str, query: str) -> None:
        if self.headers.get("Host") not in self._owner.hosts:
            raise _Refused(403, "this is not the host asked for")
        shown = parse_qs(query).get("token", [""])[0] if path == "/" else self.headers.get(TOKEN, "")
        if not secrets.compare_digest(shown.encode(), self._owner.token.encode()):
            raise _Refused(403, "the token is missing or wrong: open the address that the command printed")
        own = [f"http://{host}" for host in self._owner.hosts]
        if self.command == "POST" and self.headers.get("Origin") not in own:
            raise _Refused(403, "the request does not come from this page")

    def _page_or_image(self, path: str) -> tuple[str, bytes]:
        if path == "/":
            return "text/html; charset=utf-8", self._owner.page
        image = re.fullmatch("/image/([0-9]{1,9})", path)
        content = self._owner.actions.thumbnail(int(image[1])) if image else None
        if content is None:
            raise _Refused(404, "there is no such page")
        return "image/png", content

    def _act(self, path: str, body: bytes) -> bytes:
        action = (
            self._owner.actions.table.get(path.removeprefix("/api/")) if path.startswith("/api/") else None
        )
        if action is None:
            raise _Refused(404, "there is no such page")
        try:
            asked = from_plain(Asked, json.loads(body), "the request")
        except (ValueError, RecursionError):
            raise _Refused(400, "the request is not JSON") from None
        return _json(action(asked))

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Content-Security-Policy": self._owner.policy,
            "Cache-Control": "no-store",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _json(value: object) -> bytes:
    return json.dumps(to_plain(value)).encode()


def _page() -> tuple[bytes, str]:
    """The page, which holds its style and its script, and the policy that allows these two and nothing else."""
    html, style, script = (
        (files("potstill.concepts.editing") / "static" / f"edit.{kind}").read_text(encoding="utf-8")
        for kind in ("html", "css", "js")
    )
    style = palette() + style
    policy = (
        f"default-src 'none'; img-src blob: data:; connect-src 'self'; style-src {_source(style)}; "
        f"script-src {_source(script)}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Template(html).substitute(style=style, script=script).encode(), policy


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
