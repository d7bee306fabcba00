"""A bad backend hurts nobody but those who asked it: 502 or 504, a cut that can be seen, and the next answer right."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.backends import plain, raw
from tests.gateway_settings import FIRST_BYTE_S
from tests.wire import CutShort, request_bytes

if TYPE_CHECKING:
    from tests.backends import Connection, Received
    from tests.gateways import Gateway

PATH = "/api/public/budgets"
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"garbage\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
        OK + b"X-Bad: a\0b\r\nContent-Length: 0\r\n\r\n",
        OK + b"X-Big: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"",
    ],
    ids=lambda data: repr(data[:40]),
)
def test_what_is_no_answer_is_502(gateway: Gateway, data: bytes) -> None:
    with gateway.connect() as wire:
        for _ in range(5):
            gateway.backend.answer = raw(data, close=True)
            answer = wire.ask("GET", PATH, gateway.everything)
            assert answer.code == "502 upstream_error"
            assert answer.json["details"] == {"upstream": "budgets"}
            assert str(gateway.backend.port).encode() not in answer.body
            gateway.backend.answer = plain()
            assert wire.ask("GET", PATH, gateway.everything).body == b'{"ok":true}'


def test_a_backend_that_refuses_is_502_at_once(gateway: Gateway) -> None:
    began = time.monotonic()
    assert gateway.ask("GET", "/api/public/gone", gateway.everything).code == "502 upstream_error"
    assert gateway.ask("POST", "/api/public/gone", gateway.everything, body=b"abc").status in (405, 502)
    assert time.monotonic() - began < 0.2


def test_a_backend_that_is_silent_is_504_in_time_and_others_are_served(gateway: Gateway) -> None:
    def answer(request: Received, connection: Connection) -> None:
        if request.target.endswith("silent"):
            connection.wait_for_end()
        else:
            plain()(request, connection)

    gateway.backend.answer = answer
    with gateway.connect() as stalled:
        began = time.monotonic()
        stalled.send(request_bytes("GET", f"{PATH}/silent", gateway.everything))
        for _ in range(10):
            assert gateway.ask("GET", PATH, gateway.everything).status == 200
        assert stalled.answer().code == "504 upstream_timeout"
        assert time.monotonic() - began == pytest.approx(FIRST_BYTE_S, rel=0.15)
        assert stalled.ask("GET", PATH, gateway.everything).status == 200


@pytest.mark.parametrize("size", [1_000, 5_000_000])
@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("ending", ["close", "reset", "half_close"])
def test_an_answer_that_is_cut_is_seen_to_be_cut(gateway: Gateway, size: int, framing: str, ending: str) -> None:
    def answer(_request: Received, connection: Connection) -> None:
        head = b"Content-Length: %d\r\n\r\n" % size
        if framing == "chunks":
            head = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size
        connection.send(OK + head + b"a" * (size - 1))
        getattr(connection, ending)()

    for _ in range(3):
        gateway.backend.answer = answer
        with suppress(CutShort):
            assert gateway.ask("GET", PATH, gateway.everything).status == 502
        gateway.backend.answer = plain()
        assert gateway.ask("GET", PATH, gateway.everything).body == b'{"ok":true}'


def test_an_answer_without_an_end_of_its_own_gets_one(gateway: Gateway) -> None:
    gateway.backend.answer = raw(OK + b"\r\nuntil the end", close=True)
    with gateway.connect() as wire:
        answer = wire.ask("GET", PATH, gateway.everything)
        assert answer.body == b"until the end"
        assert answer.all("content-length") or answer.all("transfer-encoding") == ["chunked"]


def test_surplus_bytes_never_answer_another(gateway: Gateway) -> None:
    gateway.backend.answer = raw(OK + b"Content-Length: 2\r\n\r\nhi" + OK + b"Content-Length: 6\r\n\r\nforged")
    for _ in range(5):
        assert gateway.ask("GET", PATH, gateway.everything).body == b"hi"
    for _ in range(5):
        assert gateway.ask("HEAD", PATH, gateway.everything).status == 200


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_passed_on_and_not_followed(gateway: Gateway, status: int) -> None:
    where = f"http://127.0.0.1:{gateway.backend.port}/api/public/customers"
    gateway.backend.answer = plain(b"", f"{status} Moved", f"Location: {where}\r\n".encode())
    answer = gateway.ask("GET", PATH, gateway.everything)
    assert (answer.status, answer.one("location")) == (status, where)
    assert len(gateway.backend.requests) == 1


@pytest.mark.parametrize(
    "status", ["400 Bad", "401 No", "404 Not Here", "409 Conflict", "429 Slow", "500 Oops", "503 Later"]
)
def test_the_backends_own_errors_pass_untouched(gateway: Gateway, status: str) -> None:
    gateway.backend.answer = plain(b'{"mine":1}', status, b"Retry-After: 7\r\nServer: backend\r\n")
    answer = gateway.ask("GET", PATH, gateway.everything)
    assert answer.head.startswith(f"HTTP/1.1 {status}\r\n".encode())
    assert (answer.body, answer.one("retry-after")) == (b'{"mine":1}', "7")


def go_stale(gateway: Gateway) -> int:
    """Have the gateway keep one connection that ends the moment it is used again; gives the requests so far."""
    gateway.backend.drop_connections()
    assert gateway.ask("GET", PATH, gateway.everything).status == 200

    def close(_request: Received, connection: Connection) -> None:
        # Before the close: the retry may be here at once.
        gateway.backend.on_head = None
        connection.close()

    gateway.backend.on_head = close
    return len(gateway.backend.requests)


def test_a_get_on_a_stale_connection_succeeds(gateway: Gateway) -> None:
    before = go_stale(gateway)
    assert gateway.ask("GET", PATH, gateway.everything).status == 200
    assert len(gateway.backend.requests) == before + 2


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_what_may_have_been_done_is_sent_once(gateway: Gateway, method: str) -> None:
    before = go_stale(gateway)
    assert gateway.ask(method, PATH, gateway.everything, body=b"abc").code == "502 upstream_error"
    assert len(gateway.backend.requests) == before + 1


def test_an_early_answer_to_an_upload_arrives(gateway: Gateway) -> None:
    def refuse(_request: Received, connection: Connection) -> None:
        connection.send(b"HTTP/1.1 409 Conflict\r\nContent-Length: 4\r\n\r\nmine")
        connection.wait_for_end()
        connection.close()

    gateway.backend.on_head = refuse
    with gateway.connect() as wire:
        wire.send(request_bytes("POST", PATH, gateway.everything, ["Content-Length: 900000"]) + b"a" * 1000)
        answer = wire.answer()
        assert (answer.status, answer.body) == (409, b"mine")
        assert answer.all("connection") == ["close"]
