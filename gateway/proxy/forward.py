"""Forwarding: an admitted request to its upstream, and the upstream's answer to the client, streamed both ways.

The path that was decided on is the path that is sent. A short answer leaves in one write; a longer one flows as it
comes, and its end is withheld until the usage event is in the journal. An answer that breaks off breaks the client's
connection, so that it can never be taken for a whole one.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from aiohttp import hdrs
from aiohttp.http import HttpVersion11

from gateway.adapters.http.faults import UpstreamFault
from gateway.core.headers import passed_lines, rate_limit_lines
from gateway.proxy.body import ClientGone, framed_body
from gateway.proxy.outbound import outbound_head
from gateway.proxy.respond import CLOSES, GOES_ON, REASONS, connection_line

if TYPE_CHECKING:
    from gateway.accounting.moments import Moments
    from gateway.accounting.record import RequestRecord
    from gateway.adapters.http.upstream import Upstream, UpstreamAnswer
    from gateway.adapters.journal import Journal
    from gateway.core.decision import Admit
    from gateway.core.headers import RemovedNames
    from gateway.core.snapshot import UpstreamTarget
    from gateway.proxy.incoming import ClientRequest
    from gateway.proxy.outbound import Removed
    from gateway.proxy.respond import Written
    from gateway.telemetry.telemetry import Telemetry


class Forwarder:
    """Carries requests to upstreams and answers back."""

    def __init__(self, journal: Journal, telemetry: Telemetry, moments: Moments, removed: Removed) -> None:
        """Take the collaborators that record what was done, and the fields that do not pass."""
        self._journal = journal
        self._telemetry = telemetry
        self._moments = moments
        self._removed = removed

    async def forward(self, request: ClientRequest, record: RequestRecord, upstream: Upstream, admit: Admit) -> Written:
        """Forward and answer; raises UpstreamFault and the faults of bodies while nothing has been answered."""
        framing, body = framed_body(request, record)
        start, rest = outbound_head(request, record, admit, self._removed, framing)
        preserved = request.head.headers.get(hdrs.HOST) if upstream.settings.preserve_host else None

        def head(target: UpstreamTarget) -> bytes:
            record.target = target.name
            return start + (target.authority if preserved is None else preserved).encode("ascii") + rest

        asked = perf_counter()
        answer = await upstream.forward(record.method, head, body)
        record.upstream_us = int((perf_counter() - asked) * 1_000_000)
        record.status = answer.status
        try:
            if answer.complete:
                return self._pass_on(request, record, answer)
            return await self._stream(request, record, answer)
        finally:
            answer.release()

    def _pass_on(self, request: ClientRequest, record: RequestRecord, answer: UpstreamAnswer) -> Written:
        """Answer in one write."""
        transport = request.transport
        if transport is None:
            raise ClientGone
        body = answer.take_body()
        without_body = record.method == "HEAD" or answer.status in (204, 304)
        length = answer.length if without_body else len(body)
        close = request.head.should_close or request.unread
        framing = b"" if length is None or answer.status == 204 else b"Content-Length: %d\r\n" % length
        head = _answer_head(request, record, answer, self._removed.from_answers, framing, close=close)
        record.bytes_out = len(body)
        record.finish(self._journal, self._telemetry, self._moments)
        self._journal.answer(transport, head + body)
        if close:
            self._journal.flush()
            return CLOSES
        return GOES_ON

    async def _stream(self, request: ClientRequest, record: RequestRecord, answer: UpstreamAnswer) -> Written:
        """Pass head and body on, at the pace of the slower side, the end last."""
        transport = request.transport
        if transport is None:
            raise ClientGone
        length = answer.length
        chunked = length is None and request.head.version == HttpVersion11
        close = request.head.should_close or request.unread or (length is None and not chunked)
        framing = b"Transfer-Encoding: chunked\r\n" if chunked else b""
        if length is not None:
            framing = b"Content-Length: %d\r\n" % length
        self._journal.flush()
        transport.write(_answer_head(request, record, answer, self._removed.from_answers, framing, close=close))
        last = False
        while not last:
            try:
                data, last = await answer.read()
            except UpstreamFault:
                record.finish(self._journal, self._telemetry, self._moments)
                transport.abort()
                raise ClientGone from None
            record.bytes_out += len(data)
            if chunked and data:
                data = b"%x\r\n%b\r\n" % (len(data), data)
            if last:
                record.finish(self._journal, self._telemetry, self._moments)
                self._journal.flush()
                data = data + b"0\r\n\r\n" if chunked else data
            if transport.is_closing():
                raise ClientGone
            transport.write(data)
            try:
                await request.drain()
            except ConnectionError:
                raise ClientGone from None
        return CLOSES if close else GOES_ON


def _answer_head(
    request: ClientRequest,
    record: RequestRecord,
    answer: UpstreamAnswer,
    removed: RemovedNames,
    framing: bytes,
    *,
    close: bool,
) -> bytes:
    status = answer.status
    lines = [b"HTTP/1.1 %d %b" % (status, answer.reason or REASONS.get(status, b""))]
    lines += passed_lines(answer.fields, removed)
    lines.append(b"X-Request-Id: %b\r\n" % record.request_id.encode())
    limits = b"" if record.taken is None else rate_limit_lines(record.taken)
    return b"".join((b"\r\n".join(lines), limits, framing, connection_line(request.head, close=close), b"\r\n"))
