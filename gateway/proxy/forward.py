"""Forwarding: an admitted request to its upstream, and the upstream's answer to the client, streamed both ways.

The path that was decided on is the path that is sent. A short answer leaves in one write; a longer one flows as it
comes, and its end is withheld until the usage event is in the journal. An answer that breaks off breaks the client's
connection, so that it can never be taken for a whole one.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from random import getrandbits
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs
from aiohttp.http import HttpVersion11

from gateway.adapters.http.faults import UpstreamFault
from gateway.core.headers import RemovedNames, forwarded_fields, identity_lines, rate_limit_lines
from gateway.proxy.respond import CLOSES, GOES_ON, REASONS, connection_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from gateway.adapters.http.upstream import Upstream, UpstreamAnswer
    from gateway.adapters.journal import Journal
    from gateway.core.bucket import Taken
    from gateway.core.decision import Principal
    from gateway.core.snapshot import UpstreamTarget
    from gateway.proxy.moments import Moments
    from gateway.proxy.record import RequestRecord
    from gateway.proxy.respond import Written
    from gateway.telemetry.telemetry import Telemetry

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_TRACE: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
_ANSWER_REMOVED: Final = RemovedNames.from_answers()


class BodyTooLargeFault(Exception):
    """The request's body exceeds its limit."""


class BodyStalledFault(Exception):
    """The request's body did not go on in time."""


class ClientGone(Exception):
    """The client closed the connection, or broke off its body."""


@dataclass(frozen=True, slots=True)
class Removed:
    """Which request fields are removed: everything suspicious from strangers, less from trusted proxies."""

    from_strangers: RemovedNames
    from_trusted: RemovedNames

    @classmethod
    def compile(cls, configured: tuple[str, ...]) -> Removed:
        """Compile the configured list; from trusted proxies only what we write ourselves is removed."""
        ours = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-api-key")
        return cls(RemovedNames.from_requests(configured), RemovedNames.from_requests(ours))


def outbound_head(
    request: web.BaseRequest,
    record: RequestRecord,
    principal: Principal | None,
    removed: Removed,
    framing: bytes,
) -> tuple[bytes, bytes]:
    """Give the head for the upstream in two parts, before and after the value of Host (contract section 6)."""
    facts, snapshot = record.facts, record.snapshot
    assert facts is not None
    headers = request.headers
    trusted = bool(snapshot.trusted_proxies) and record.peer in snapshot.trusted_proxies
    names = removed.from_trusted if trusted else removed.from_strangers
    lines = forwarded_fields(request.raw_headers, names, headers.getall(hdrs.CONNECTION, ()))
    if principal is None and hdrs.AUTHORIZATION in headers and not _is_ours(headers[hdrs.AUTHORIZATION], record):
        lines.append(f"Authorization: {headers[hdrs.AUTHORIZATION]}\r\n".encode("utf-8", "surrogateescape"))
    host = headers.get(hdrs.HOST, "")
    hops, scheme, wanted = record.peer, request.scheme, host
    if trusted:
        hops = ", ".join((*headers.getall(hdrs.X_FORWARDED_FOR, ()), record.peer))
        scheme = headers.get(hdrs.X_FORWARDED_PROTO, scheme)
        wanted = headers.get(hdrs.X_FORWARDED_HOST, host)
    trace = _TRACE.fullmatch(headers.get("traceparent", ""))
    trace_id, flags = (trace[1], trace[2]) if trace else (f"{getrandbits(128) | 1:032x}", "00")
    own = (
        f"X-Request-Id: {record.request_id}\r\ntraceparent: 00-{trace_id}-{getrandbits(64) | 1:016x}-{flags}\r\n"
        f"X-Forwarded-For: {hops}\r\nX-Forwarded-Proto: {scheme}\r\nX-Forwarded-Host: {wanted}\r\n"
        f"Via: 1.{request.version.minor} gateway\r\n"
    ).encode("utf-8", "surrogateescape")
    start = f"{facts.method} {facts.target.path}{facts.target.query} HTTP/1.1\r\nHost: ".encode("ascii")
    return start, b"".join((b"\r\n", *lines, own, identity_lines(principal), framing, b"\r\n"))


def _is_ours(authorization: str, record: RequestRecord) -> bool:
    token = authorization.partition(" ")[2].strip()
    return token.startswith(record.snapshot.key_format.prefixes)


async def read_body(request: web.BaseRequest, record: RequestRecord, limit: int, idle_s: float) -> AsyncIterator[bytes]:
    """Give the request's body as it comes; raises BodyTooLargeFault, BodyStalledFault and ClientGone."""
    content = request.content
    if request.headers.get(hdrs.EXPECT) is not None and not content.is_eof() and request.transport is not None:
        request.transport.write(CONTINUE)
    while not content.at_eof():
        try:
            async with asyncio.timeout(idle_s):
                chunk = await content.readany()
        except TimeoutError:
            raise BodyStalledFault from None
        except Exception as error:  # aiohttp raises several unrelated types here; all mean that the body is broken.
            raise ClientGone from error
        if not chunk:
            continue
        record.bytes_in += len(chunk)
        if record.bytes_in > limit:
            raise BodyTooLargeFault
        yield chunk


class Forwarder:
    """Carries requests to upstreams and answers back."""

    def __init__(self, journal: Journal, telemetry: Telemetry, moments: Moments) -> None:
        """Take the collaborators that record what was done."""
        self._journal = journal
        self._telemetry = telemetry
        self._moments = moments

    async def forward(
        self,
        request: web.BaseRequest,
        record: RequestRecord,
        upstream: Upstream,
        principal: Principal | None,
        taken: Taken | None,
        removed: Removed,
    ) -> Written:
        """Forward and answer; raises UpstreamFault and the faults of `read_body` while nothing has been answered."""
        framing, body = self._body(request, record)
        start, rest = outbound_head(request, record, principal, removed, framing)
        preserved = request.headers.get(hdrs.HOST) if upstream.settings.preserve_host else None

        def head(target: UpstreamTarget) -> bytes:
            record.target = f"{target.host}:{target.port}"
            return start + (preserved or target.authority).encode("ascii") + rest

        record.upstream_asked()
        answer = await upstream.forward(record.method, head, body)
        record.upstream_answered()
        try:
            return await self._answer(request, record, answer, taken)
        finally:
            answer.release()

    def _body(self, request: web.BaseRequest, record: RequestRecord) -> tuple[bytes, bytes | AsyncIterator[bytes]]:
        """Give the framing line for the upstream and the body: complete if it is here already, else as it comes."""
        headers = request.headers
        declared = headers.get(hdrs.CONTENT_LENGTH)
        if not request.body_exists:
            # A length of nothing is passed on for methods that have a body by nature (RFC 9110 section 8.6).
            return (b"Content-Length: 0\r\n" if declared is not None else b""), b""
        assert record.route is not None
        limit, idle_s = record.route.body_max_bytes, record.snapshot.request_limits.body_idle_s
        content = request.content
        if content.is_eof() and content.exception() is None and content.total_bytes <= limit:
            body = content.read_nowait(-1)
            record.bytes_in = len(body)
            return b"Content-Length: %d\r\n" % len(body), body
        pieces = read_body(request, record, limit, idle_s)
        if declared is not None:
            return b"Content-Length: %d\r\n" % int(declared), pieces
        return b"Transfer-Encoding: chunked\r\n", _chunked(pieces)

    async def _answer(
        self, request: web.BaseRequest, record: RequestRecord, answer: UpstreamAnswer, taken: Taken | None
    ) -> Written:
        record.status = answer.status
        complete = answer.complete
        body = answer.take_body() if complete else b""
        without_body = record.method == "HEAD" or answer.status in (204, 304)
        length = answer.length
        if complete and not without_body:
            length = len(body)
        chunked = length is None and not complete and request.version == HttpVersion11
        close = not request.keep_alive or (not complete and length is None and not chunked)
        close = close or not (request.content.is_eof() or not request.body_exists)
        head = self._answer_head(request, record, answer, taken, length, chunked=chunked, close=close)
        transport = request.transport
        if transport is None:
            raise ClientGone
        if complete:
            record.bytes_out = len(body)
            record.finish(self._journal, self._telemetry, self._moments)
            self._journal.answer(transport, head + body)
            if close:
                self._journal.flush()
        else:
            self._journal.flush()
            transport.write(head)
            await self._stream(request, record, answer, chunked=chunked)
        return CLOSES if close else GOES_ON

    async def _stream(
        self, request: web.BaseRequest, record: RequestRecord, answer: UpstreamAnswer, *, chunked: bool
    ) -> None:
        """Pass the body on, at the pace of the slower side, its end last."""
        transport = request.transport
        last = False
        while not last:
            try:
                data, last = await answer.read()
            except UpstreamFault:
                record.finish(self._journal, self._telemetry, self._moments)
                if transport is not None:
                    transport.abort()
                raise ClientGone from None
            record.bytes_out += len(data)
            if chunked and data:
                data = b"%x\r\n%b\r\n" % (len(data), data)
            if last:
                record.finish(self._journal, self._telemetry, self._moments)
                self._journal.flush()
                data = data + b"0\r\n\r\n" if chunked else data
            if transport is None or transport.is_closing():
                raise ClientGone
            transport.write(data)
            try:
                await request.writer.drain()
            except ConnectionError:
                raise ClientGone from None

    def _answer_head(
        self,
        request: web.BaseRequest,
        record: RequestRecord,
        answer: UpstreamAnswer,
        taken: Taken | None,
        length: int | None,
        *,
        chunked: bool,
        close: bool,
    ) -> bytes:
        connection = [value.decode("latin-1") for name, value in answer.fields if name.lower() == b"connection"]
        lines = forwarded_fields(answer.fields, _ANSWER_REMOVED, connection)
        framing = b""
        if chunked:
            framing = b"Transfer-Encoding: chunked\r\n"
        elif length is not None and answer.status != 204:
            framing = b"Content-Length: %d\r\n" % length
        return b"HTTP/1.1 %d %b\r\n%bX-Request-Id: %b\r\n%b%b%b\r\n" % (
            answer.status,
            answer.reason or REASONS.get(answer.status, b""),
            b"".join(lines),
            record.request_id.encode(),
            b"" if taken is None else rate_limit_lines(taken),
            framing,
            connection_line(request, close=close),
        )


async def _chunked(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Frame pieces of unknown total length (RFC 9112 section 7.1)."""
    async for piece in pieces:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"
