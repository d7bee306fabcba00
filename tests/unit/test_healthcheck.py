"""The image's health check, against a real server."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from deploy.healthcheck import is_healthy

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/livez" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a server that is alive but not ready."""
    with HTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_server_that_says_200_is_healthy(port: int) -> None:
    assert is_healthy(port, "/livez")


def test_a_server_that_says_503_is_not_healthy(port: int) -> None:
    assert not is_healthy(port, "/readyz")


def test_a_server_that_is_not_there_is_not_healthy() -> None:
    with HTTPServer(("127.0.0.1", 0), _Handler) as server:
        closed = server.server_port
    assert not is_healthy(closed, "/livez")
