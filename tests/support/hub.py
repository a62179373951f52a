"""A Hugging Face hub on loopback: folders that are read by id, as much of its protocol as the libraries ask for."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

COMMIT = "c" * 40
LISTING = re.compile(r"/api/(?:models|datasets)/([\w.-]+/[\w.-]+)(?:/revision/[^/]+)?$")
TREE = re.compile(r"/api/(?:models|datasets)/([\w.-]+/[\w.-]+)/tree/[^/]+/?(.*)$")
PATHS = re.compile(r"/api/(?:models|datasets)/([\w.-]+/[\w.-]+)/paths-info/[^/]+$")
FILE = re.compile(r"/(?:datasets/)?([\w.-]+/[\w.-]+)/resolve/[^/]+/(.+)$")


class LoopbackHub:
    """`folders` by id; `sent` are the files that were asked for, as "ID/PATH"."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.folders, self.sent = folders, list[str]()

    @contextmanager
    def serving(self) -> Iterator[dict[str, str]]:
        """The environment in which programs find this hub."""
        handler = type("Handler", (_Handler,), {"hub": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_OFFLINE": "0"}
        finally:
            server.shutdown()
            server.server_close()

    def entry(self, identity: str, file: Path) -> dict[str, Any]:
        """What a listing tells of a file."""
        path = file.relative_to(self.folders[identity]).as_posix()
        if file.is_dir():
            return {"type": "directory", "oid": "d" * 40, "size": 0, "path": path}
        return {"type": "file", "oid": _etag(file), "size": file.stat().st_size, "path": path}


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        match = PATHS.match(self.path.split("?")[0])
        folder = self._folder(match[1] if match else "")
        if match is None or folder is None:
            return self._none("RepoNotFound")
        paths = [folder / path for path in json.loads(body)["paths"]]
        self._json([self.hub.entry(match[1], path) for path in paths if path.exists()])

    def _answer(self) -> None:
        path = self.path.split("?")[0]
        match = LISTING.match(path) or TREE.match(path) or FILE.match(path)
        folder = self._folder(match[1]) if match else None
        if match is None or folder is None:
            return self._none("RepoNotFound")
        if FILE.match(path):
            return self._file(match[1], folder / match[2])
        below = folder / match[2] if TREE.match(path) else folder
        found = sorted(below.rglob("*") if "recursive=true" in self.path.lower() else below.glob("*"))
        if TREE.match(path):
            return self._json([self.hub.entry(match[1], file) for file in found])
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        named = [{"rfilename": file.relative_to(folder).as_posix()} for file in files]
        self._json({"id": match[1], "sha": COMMIT, "private": False, "tags": [], "siblings": named})

    def _folder(self, identity: str) -> Path | None:
        return self.hub.folders.get(identity)

    def _file(self, identity: str, file: Path) -> None:
        if not file.is_file():
            return self._none("EntryNotFound")
        if self.command == "GET":
            self.hub.sent.append(f"{identity}/{file.relative_to(self.hub.folders[identity]).as_posix()}")
        self._send(200, file.read_bytes(), {"ETag": f'"{_etag(file)}"', "X-Repo-Commit": COMMIT})

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _none(self, code: str) -> None:
        self._send(404, b"", {"X-Error-Code": code, "X-Error-Message": "not found"})

    def _send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
