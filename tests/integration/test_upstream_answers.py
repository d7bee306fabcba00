"""The upstream client reads answers of every framing, and believes none that has two readings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.adapters.http.faults import UpstreamClosed, UpstreamFault, UpstreamGarbled
from tests.backends import plain, raw
from tests.integration.upstreams import Asker, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.backends import Backend, Connection, Received

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
async def asker(backend: Backend) -> AsyncIterator[Asker]:
    asker = Asker(backend.port)
    yield asker
    await asker.aclose()


async def test_a_length_delimited_answer_is_given_with_its_fields_as_sent(asker: Asker, backend: Backend) -> None:
    backend.answer = raw(OK + b"x-Odd-Case: a\r\nX-Odd-Case: b\r\nContent-Length: 2\r\n\r\nhi")
    whole = await asker.ask()
    assert (whole.status, whole.body) == (200, b"hi")
    assert whole.fields[:2] == [(b"x-Odd-Case", b"a"), (b"X-Odd-Case", b"b")]


async def test_a_chunked_answer_is_given_without_its_framing(asker: Asker, backend: Backend) -> None:
    backend.answer = raw(
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3;note=x\r\n yo\r\n0\r\nX-Trailer: t\r\n\r\n"
    )
    assert (await asker.ask()).body == b"hi yo"
    assert asker.upstream.idle_count == 1


async def test_an_answer_without_framing_ends_with_its_connection(asker: Asker, backend: Backend) -> None:
    backend.answer = raw(OK + b"\r\nuntil the end", close=True)
    assert (await asker.ask()).body == b"until the end"
    assert asker.upstream.idle_count == 0


async def test_informational_answers_are_skipped(asker: Asker, backend: Backend) -> None:
    backend.answer = raw(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        + OK
        + b"Content-Length: 2\r\n\r\nhi"
    )
    whole = await asker.ask()
    assert (whole.status, whole.body) == (200, b"hi")
    assert [name for name, _ in whole.fields] == [b"Content-Length"]
    assert (await asker.ask()).status == 200
    assert len(backend.connections) == 1


async def test_an_answer_to_head_has_a_length_and_no_body(asker: Asker, backend: Backend) -> None:
    for _ in range(3):
        whole = await asker.ask("HEAD")
        assert whole.body == b""
        assert (b"Content-Length", b"11") in whole.fields
    assert (await asker.ask()).body == b'{"ok":true}'
    assert len(backend.connections) == 1


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_statuses_without_a_body_leave_the_connection_usable(asker: Asker, backend: Backend, status: str) -> None:
    backend.answer = raw(f"HTTP/1.1 {status}\r\nETag: x\r\n\r\n".encode())
    for _ in range(3):
        assert (await asker.ask()).body == b""
    assert len(backend.connections) == 1


async def test_304_may_name_the_length_of_what_it_does_not_send(asker: Asker, backend: Backend) -> None:
    backend.answer = raw(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n")
    assert (await asker.ask()).status == 304


async def test_an_answer_that_comes_byte_by_byte_is_read(asker: Asker, backend: Backend) -> None:
    def answer(_request: Received, connection: Connection) -> None:
        for byte in OK + b"Content-Length: 2\r\n\r\nhi":
            connection.send(bytes([byte]))

    backend.answer = answer
    assert (await asker.ask()).body == b"hi"


GARBLED = {
    "not http": b"SSH-2.0-OpenSSH_9.6\r\n",
    "bad chunk size": OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\nhi\r\n0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
    "two equal lengths": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    "length that is no number": OK + b"Content-Length: +2\r\n\r\nhi",
    "length and chunks": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "nul in a field": OK + b"X-Bad: a\0b\r\nContent-Length: 0\r\n\r\n",
    "space before colon": OK + b"X-Bad : a\r\nContent-Length: 0\r\n\r\n",
    "a megabyte of a field": OK + b"X-Big: " + b"a" * 1_000_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "a megabyte of fields": OK + b"X-Many: a\r\n" * 90_000 + b"Content-Length: 0\r\n\r\n",
    "a switch of protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
}


@pytest.mark.parametrize("data", GARBLED.values(), ids=GARBLED)
async def test_what_is_not_an_answer_is_a_fault_and_the_next_request_is_right(
    asker: Asker, backend: Backend, data: bytes
) -> None:
    for _ in range(3):
        backend.answer = raw(data)
        with pytest.raises(UpstreamGarbled):
            await asker.ask()
        assert asker.upstream.idle_count == asker.upstream.busy_count == 0
        backend.answer = plain()
        assert (await asker.ask()).body == b'{"ok":true}'


@pytest.mark.parametrize("size", [1_000, 5_000_000])
@pytest.mark.parametrize("framing", ["length", "chunk"])
@pytest.mark.parametrize("ending", ["close", "reset", "half_close"])
async def test_a_body_that_is_cut_is_never_taken_for_a_whole_one(
    asker: Asker, backend: Backend, size: int, framing: str, ending: str
) -> None:
    def answer(_request: Received, connection: Connection) -> None:
        head = b"Content-Length: %d\r\n\r\n" % size
        if framing == "chunk":
            head = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size
        connection.send(OK + head + b"a" * (size - 1))
        getattr(connection, ending)()

    backend.answer = answer
    with pytest.raises(UpstreamFault) as raised:
        await asker.ask()
    assert isinstance(raised.value, UpstreamClosed)
    assert asker.upstream.idle_count == asker.upstream.busy_count == 0


async def test_chunks_that_break_off_between_two_are_cut(asker: Asker, backend: Backend) -> None:
    backend.answer = raw(OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", close=True)
    with pytest.raises(UpstreamClosed):
        await asker.ask()


async def test_bytes_after_an_answer_never_answer_the_next_request(asker: Asker, backend: Backend) -> None:
    backend.answer = raw(OK + b"Content-Length: 2\r\n\r\nhi" + OK + b"Content-Length: 6\r\n\r\nforged")
    assert (await asker.ask()).body == b"hi"
    assert await until(lambda: backend.open_connections == 0)
    backend.answer = plain()
    assert (await asker.ask()).body == b'{"ok":true}'


async def test_bytes_that_follow_an_answer_later_never_answer_the_next_request(asker: Asker, backend: Backend) -> None:
    await asker.ask()
    backend.connections[0].send(OK + b"Content-Length: 6\r\n\r\nforged")
    assert await until(lambda: backend.connections[0].ended)
    assert (await asker.ask()).body == b'{"ok":true}'


async def test_a_body_after_the_answer_to_head_never_answers_the_next_request(asker: Asker, backend: Backend) -> None:
    backend.answer = raw(OK + b"Content-Length: 40\r\n\r\n" + OK + b"Content-Length: 6\r\n\r\nforged")
    assert (await asker.ask("HEAD")).body == b""
    backend.answer = plain()
    assert (await asker.ask()).body == b'{"ok":true}'
