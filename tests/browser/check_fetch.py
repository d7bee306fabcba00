"""`make check-browser`: a page of another origin does what people do, with the fetch of Chromium.

It is not part of `make test`, because it needs a browser: `apt install chromium`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.test_clients import LARGE, TEXT, backend
from tests.e2e.test_streams import CHUNKED, Events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.backends import Connection, Received
    from tests.gateways import Gateway

PAGE = Path(__file__).with_name("page.html")
TIMEOUT_S = 60.0


class Origin(ThreadingHTTPServer):
    """Where the page comes from, and where its results go."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.settings: dict[str, str] = {}
        self.next_event: Callable[[], None] = lambda: None
        self.results: dict[str, Any] = {}
        self.done = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: Origin

    def do_GET(self) -> None:
        if self.path == "/settings":
            self._answer("application/json", json.dumps(self.server.settings).encode())
        else:
            self._answer("text/html", PAGE.read_bytes())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/next-event":
            self.server.next_event()
        else:
            self.server.results = json.loads(body)
            self.server.done.set()
        self._answer("text/plain", b"")

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """A browser asks for more than a test wants to hear of."""


@contextmanager
def origin() -> Iterator[Origin]:
    server = Origin()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def browser(profile: Path, url: str) -> Iterator[None]:
    """Have Chromium show the page at *url*, and leave nothing of it."""
    path = shutil.which("chromium")
    assert path, "chromium is not installed: apt install chromium"
    quiet = ("gpu", "background-networking", "component-update", "sync", "dev-shm-usage")
    options = [*(f"--disable-{name}" for name in quiet), "--headless=new", "--no-sandbox", "--no-first-run"]
    command = [path, *options, f"--user-data-dir={profile}", url]
    with (profile / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.timeout(120)
def test_a_page_of_an_allowed_origin_can_use_the_api(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    with origin() as server:
        gateway = start_gateway(
            postgres_dsn, redis_url, lambda document: document.update(cors={"origins": [server.url]})
        )
        events = Events(gateway, CHUNKED)

        def answer(request: Received, connection: Connection) -> None:
            streams = request.target.startswith("/api/public/streams")
            (events.answer if streams else backend)(request, connection)

        gateway.backend.answer = answer
        server.next_event = events.send_next
        once = gateway.make_key(rate_limit_per_hour=1)
        server.settings = {"gateway": gateway.url, "key": gateway.everything, "once": once}
        with browser(tmp_path, server.url):
            assert server.done.wait(TIMEOUT_S)
        events.end()
    check(server.results)


def check(results: dict[str, Any]) -> None:
    statuses = {name: result.get("status") for name, result in results.items() if isinstance(result, dict)}
    assert statuses == {
        "get": 200,
        "post": 201,
        "delete": 204,
        "upload": 201,
        "download": 200,
        "gzip": 200,
        "no key": 401,
        "not found": 404,
        "first": 200,
        "throttled": 429,
        "any origin": 200,
        "undeclared method": 405,
        # What the browser itself refuses to ask, or to show.
        "undeclared field": None,
        "another origin": None,
    }
    assert json.loads(results["upload"]["body"])["sha256"] == results["sent"]
    assert results["download"]["body"] == hashlib.sha256(LARGE).hexdigest()
    assert results["gzip"]["body"] == TEXT.decode()
    assert json.loads(results["no key"]["body"])["error"] == "unauthorized"
    assert int(results["throttled"]["headers"]["retry-after"]) >= 1
    assert results["get"]["headers"]["x-ratelimit-limit"]
    assert results["get"]["headers"]["x-request-id"]
    assert results["events"] == [f"data: {number:06d}\n\n" for number in range(3)]
