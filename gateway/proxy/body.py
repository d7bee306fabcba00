"""Request bodies: read as they come, within their bounds, and framed anew for the upstream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.accounting.record import RequestRecord
    from gateway.proxy.incoming import ClientRequest

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class BodyTooLargeFault(Exception):
    """The request's body exceeds its limit."""


class BodyStalledFault(Exception):
    """The request's body did not go on in time."""


class BodyGarbledFault(Exception):
    """The request's body is not framed as its head says."""


class ClientGone(Exception):
    """The client closed the connection, or broke off its body."""


def framed_body(request: ClientRequest, record: RequestRecord) -> tuple[bytes, bytes | AsyncIterator[bytes]]:
    """Give the framing line for the upstream and the body: complete if it is here already, else as it comes."""
    head = request.head
    if not request.has_stream:
        # A length of nothing is passed on: methods that have a body by nature say so (RFC 9110 section 8.6).
        declares = head.section.special and hdrs.CONTENT_LENGTH in head.headers
        return (b"Content-Length: 0\r\n" if declares else b""), b""
    assert record.route is not None
    limit, idle_s = record.route.body_max_bytes, record.snapshot.request_limits.body_idle_s
    stream = request.stream
    if stream.is_eof() and stream.exception() is None and stream.total_bytes <= limit:
        body = stream.read_nowait(-1)
        record.bytes_in = len(body)
        return b"Content-Length: %d\r\n" % len(body), body
    pieces = read_body(request, record, limit, idle_s)
    declared = head.headers.get(hdrs.CONTENT_LENGTH)
    if declared is not None:
        return b"Content-Length: %d\r\n" % int(declared), pieces
    return b"Transfer-Encoding: chunked\r\n", _chunked(pieces)


async def read_body(request: ClientRequest, record: RequestRecord, limit: int, idle_s: float) -> AsyncIterator[bytes]:
    """Give the request's body as it comes; raises the faults above.

    A client that waits for a go-ahead gets it here, once its request has been admitted (RFC 9110 section 10.1.1).
    """
    stream = request.stream
    if hdrs.EXPECT in request.head.headers and not stream.is_eof() and request.transport is not None:
        request.transport.write(CONTINUE)
    while not stream.at_eof():
        try:
            async with asyncio.timeout(idle_s):
                piece = await stream.readany()
        except TimeoutError:
            raise BodyStalledFault from None
        except BodyGarbledFault:
            stream.feed_eof()  # aiohttp would wait for the rest before it closes the connection.
            raise
        except Exception as error:
            raise ClientGone from error
        if not piece:
            continue
        record.bytes_in += len(piece)
        if record.bytes_in > limit:
            raise BodyTooLargeFault
        yield piece


async def _chunked(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Frame pieces of unknown total length (RFC 9112 section 7.1)."""
    async for piece in pieces:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"
