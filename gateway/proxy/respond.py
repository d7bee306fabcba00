"""Responding: answers as the bytes that leave, and what aiohttp is told when we have written them ourselves.

An answer is one write: its head and body as one bytes object, given to the journal so that the usage event goes first.
"""

from __future__ import annotations

import socket
import struct
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.http import HttpVersion10, HttpVersion11

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from aiohttp.abc import AbstractStreamWriter

    from gateway.core.answers import Answer
    from gateway.proxy.head import RequestHead

REASONS: Final[Mapping[int, bytes]] = {status.value: status.phrase.encode() for status in HTTPStatus}


class Written(web.StreamResponse):
    """Stands for an answer whose bytes have been written or queued already: aiohttp has only to go on, or to close."""

    def __init__(self, *, keep_alive: bool) -> None:
        """Say whether the connection goes on."""
        super().__init__()
        self._goes_on = keep_alive

    @property
    def keep_alive(self) -> bool | None:
        """Tell aiohttp whether to wait for another request."""
        return self._goes_on

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002  # aiohttp's
        """Write no head: it has been written."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Write no end: it has been written."""


GOES_ON: Final = Written(keep_alive=True)
CLOSES: Final = Written(keep_alive=False)


def reset_at_end(transport: asyncio.Transport, *, on: bool) -> None:
    """Have the connection reset whatever ends it, also our own death, or end it in order again.

    For an answer whose end is that of its connection: until it is complete, no end may look like its own.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", on, 0))


def connection_line(head: RequestHead, *, close: bool) -> bytes:
    """Give the Connection field, where the version's default does not say it already (RFC 9112 section 9.3)."""
    if close:
        return b"Connection: close\r\n"
    if head.version is HttpVersion11:
        return b""
    return b"Connection: keep-alive\r\n" if head.version == HttpVersion10 else b""


def own_answer(answer: Answer, request_id: str, date: bytes, connection: bytes, extra: bytes, *, head: bool) -> bytes:
    """Give the bytes of an answer of our own; *extra* are more head lines, *head* leaves out the body."""
    fields = b"".join(f"{name}: {value}\r\n".encode("latin-1", "replace") for name, value in answer.headers)
    # A 304 tells of the answer that it stands for, whose length is not that of nothing (RFC 9110 section 8.6).
    length = b"" if answer.status in (204, 304) else b"Content-Length: %d\r\n" % len(answer.body)
    start = b"HTTP/1.1 %d %b\r\nDate: %b\r\nCache-Control: %b\r\nX-Request-Id: %b\r\n%b%b%b%b\r\n" % (
        answer.status,
        REASONS.get(answer.status, b""),
        date,
        answer.caching.encode(),
        request_id.encode(),
        length,
        fields,
        extra,
        connection,
    )
    return start if head else start + answer.body
