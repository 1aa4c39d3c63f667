"""A Hugging Face Hub on this machine: the routes that the app asks, with the faults of the real one."""

import json
import re
import threading
import time
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT, LATER = "a" * 40, "b" * 40


@dataclass
class Repo:
    """Files by commit, branches by name; `gated` as the Hub says it."""

    commits: dict[str, dict[str, bytes]]
    branches: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    gated: str | bool = False
    tags: list[str] = field(default_factory=lambda: ["lora", "license:cc0-1.0"])


class FakeHub:
    """Serves `repos` until `close`. `faults` are tried on one request each, in order: a status, or
    hang, drip, cut, shorter, longer, other.

    `requests` are (method, path, authorization) of all that came.
    """

    def __init__(self, repos: dict[str, Repo] | None = None):
        self.repos = repos or {}
        self.faults: list[str | int] = []
        self.only = ""
        self.retry_after = "0"
        self.requests: list[tuple[str, str, str | None]] = []
        self.released = threading.Event()
        handler = type("Bound", (Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


class Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        hub, url = self.hub, urlsplit(self.path)
        path = unquote(url.path)
        hub.requests.append((self.command, self.path, self.headers.get("authorization")))
        fault = hub.faults.pop(0) if hub.faults and hub.only in path else None
        if fault == "hang":
            hub.released.wait(30)
            self.close_connection = True
        elif isinstance(fault, int):
            self.answer(fault, b"{}", {"Retry-After": hub.retry_after} if fault == 429 else {})
        elif path == "/api/models":
            self.search(parse_qs(url.query))
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self.info(*match.groups())
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.file(*match.groups(), fault)
        else:
            self.refuse(404, "EntryNotFound")

    def do_HEAD(self):
        self.do_GET()

    def info(self, name: str, revision: str | None) -> None:
        repo = self.hub.repos.get(name)
        if repo is None:
            return self.refuse(401, "RepoNotFound")
        commit = repo.branches.get(revision or "main", revision)
        if commit not in repo.commits:
            return self.refuse(404, "RevisionNotFound")
        siblings = [
            {"rfilename": file, "size": len(data), "blobId": "0", "lfs": {
                "size": len(data), "sha256": sha256(data).hexdigest(), "pointerSize": 1}}
            for file, data in repo.commits[commit].items()
        ]  # fmt: skip
        model = {"_id": "1", "id": name, "sha": commit, "gated": repo.gated, "tags": repo.tags, "siblings": siblings}
        self.answer(200, json.dumps(model).encode())

    def file(self, name: str, revision: str, file: str, fault: str | None) -> None:
        repo = self.hub.repos[name]
        if repo.gated:
            return self.refuse(403, "GatedRepo")
        commit = repo.branches.get(revision, revision)
        if file not in repo.commits.get(commit, {}):
            return self.refuse(404, "EntryNotFound")
        data = repo.commits[commit][file]
        head = {"X-Repo-Commit": commit, "ETag": f'"{sha256(data).hexdigest()}"'}
        if fault == "cut":
            self.answer(200, data[: len(data) // 2], head | {"Content-Length": str(len(data))})
            self.close_connection = True
        elif fault == "drip":
            self.answer(200, b"", head | {"Content-Length": str(len(data))})
            for i in range(len(data)):
                self.wfile.write(data[i : i + 1])
                if self.hub.released.wait(0.05):
                    break
        elif fault == "shorter":
            self.answer(200, data[:-1], head)
        elif fault == "longer":
            self.answer(200, data + b"x", head)
        elif fault == "other":
            self.answer(200, data[:-1] + b"x", head)
        else:
            self.answer(200, data, head)

    def search(self, query: dict[str, list[str]]) -> None:
        words, wanted = query.get("search", [""])[0], query.get("filter", [])
        found = [
            {"_id": "1", "id": name, "downloads": 7, "likes": 3, "tags": repo.tags}
            for name, repo in self.hub.repos.items()
            if words in name and all(tag in repo.tags for tag in wanted)
        ]
        self.answer(200, json.dumps(found[: int(query.get("limit", ["1000"])[0])]).encode())

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, b'{"error": "/secret/path of the server"}', {"X-Error-Code": code})

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            try:
                self.wfile.write(body)
            except ConnectionError:
                self.close_connection = True


def wait_for(condition, seconds: float = 10.0) -> None:
    """Wait until it holds. Raises AssertionError."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
