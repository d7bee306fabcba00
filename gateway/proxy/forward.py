"""Forwarding: an admitted request to its upstream, and the upstream's answer to the client, streamed both ways.

The path that was decided on is the path that is sent. A short answer leaves in one write; a longer one flows as it
comes, and its end is withheld until the usage event is in the journal. An answer that breaks off breaks the client's
connection, so that it can never be taken for a whole one.

Trailers pass to a client that says that it understands them; those of requests do not, the parser keeps none.
"""

from __future__ import annotations

from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs
from aiohttp.http import HttpVersion11

from gateway.adapters.http.faults import UpstreamFault
from gateway.core.headers import RemovedNames, passed_lines, rate_limit_lines, wants_trailers
from gateway.core.websocket import UPGRADE_LINES
from gateway.proxy.body import ClientGone, framed_body
from gateway.proxy.emit import emitting
from gateway.proxy.incoming import Incoming
from gateway.proxy.outbound import outbound_head, wanted_host
from gateway.proxy.respond import CLOSES, GOES_ON, REASONS, connection_line, reset_at_end
from gateway.proxy.tunnel import Tunnel, require_accepted
from gateway.proxy.watch import Watched

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from gateway.accounting.moments import Moments
    from gateway.accounting.record import RequestRecord
    from gateway.adapters.http.answer import UpstreamAnswer
    from gateway.adapters.http.upstream import Upstream
    from gateway.adapters.journal import Journal
    from gateway.core.decision import Admit
    from gateway.core.upstreams import UpstreamTarget
    from gateway.proxy.incoming import ClientRequest
    from gateway.proxy.respond import Written
    from gateway.proxy.watch import Watch
    from gateway.telemetry.telemetry import Telemetry

_REMOVED_TRAILERS: Final = RemovedNames.from_trailers()
_CHUNKED_LINE: Final = b"Transfer-Encoding: chunked\r\n"
_TE_LINES: Final = b"Connection: TE\r\nTE: trailers\r\n"


class Forwarder:
    """Carries requests to upstreams and answers back."""

    def __init__(self, journal: Journal, telemetry: Telemetry, moments: Moments, watch: Watch) -> None:
        """Take the collaborators that record and watch what is done."""
        self._watch = watch
        self._journal = journal
        self._telemetry = telemetry
        self._moments = moments

    async def forward(
        self, request: ClientRequest, record: RequestRecord, upstream: Upstream, admit: Admit, *, upgrade: bool = False
    ) -> Written:
        """Forward and answer; raises UpstreamFault and the faults of bodies while nothing has been answered.

        With *upgrade* the request is the handshake of a WebSocket.
        """
        route = record.route
        assert route is not None
        framing, body = framed_body(request, record)
        if upgrade:
            framing += UPGRADE_LINES
        elif request.head.section.special and wants_trailers(request.head.headers.getall(hdrs.TE, ())):
            record.trailers = True
            framing += _TE_LINES
        start, rest = outbound_head(request, record, admit, framing)
        assert record.facts is not None
        preserved = wanted_host(request.head, record.facts.target) if upstream.settings.preserve_host else ""

        def head(target: UpstreamTarget) -> bytes:
            record.target = target.name
            return start + (preserved or target.authority).encode("ascii") + rest

        asked = perf_counter()
        answer = await upstream.forward(record.method, head, body, route.timeouts, upgrade=upgrade)
        record.upstream_us = int((perf_counter() - asked) * 1_000_000)
        record.status = answer.status
        if route.emits:
            answer = emitting(answer, record, self._journal, self._moments)
        try:
            if answer.complete and not (record.trailers and answer.trailers):
                return self._pass_on(request, record, answer)
            if answer.status == 101:
                return await self._tunnel(request, record, answer)
            return await self._stream(request, record, answer)
        finally:
            answer.release()

    async def _tunnel(self, request: ClientRequest, record: RequestRecord, answer: UpstreamAnswer) -> Written:
        """Tell the client that its WebSocket is open, and carry it."""
        assert isinstance(request, Incoming)  # A handshake is no plain request.
        transport = request.transport
        if transport is None:
            raise ClientGone
        require_accepted(request, answer)
        head = _answer_head(request, record, answer, UPGRADE_LINES, close=False)
        record.finish(self._journal, self._telemetry, self._moments)
        self._journal.answer(transport, head)
        self._journal.flush()
        return await Tunnel(request, transport, answer, self._telemetry).carry(record, self._watch)

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
        head = _answer_head(request, record, answer, framing, close=close)
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
        framing = _CHUNKED_LINE if chunked else b""
        if length is not None:
            framing = b"Content-Length: %d\r\n" % length
        self._journal.flush()
        transport.write(_answer_head(request, record, answer, framing, close=close))
        if not framing:
            reset_at_end(transport, on=True)
        with self._watched(record, transport):
            await self._flow(request, record, answer, transport, framing)
        return CLOSES if close else GOES_ON

    async def _flow(
        self,
        request: ClientRequest,
        record: RequestRecord,
        answer: UpstreamAnswer,
        transport: asyncio.Transport,
        framing: bytes,
    ) -> None:
        chunked = framing is _CHUNKED_LINE
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
                data = data + _last_chunk(record, answer) if chunked else data
                if not framing:
                    reset_at_end(transport, on=False)
            if transport.is_closing():
                raise ClientGone
            transport.write(data)
            try:
                await request.drain()
            except ConnectionError:
                raise ClientGone from None

    @contextmanager
    def _watched(self, record: RequestRecord, transport: asyncio.Transport) -> Iterator[None]:
        """Have the answer end when its key may no longer have it, where the route says that it may go on for ever."""
        facts, route = record.facts, record.route
        if facts is None or route is None or not route.stream:
            yield
            return

        def end(_: str) -> None:
            record.outcome = "access_ended"
            transport.abort()

        watched = Watched(facts, route, end)
        self._watch.add(watched)
        try:
            yield
        finally:
            self._watch.remove(watched)


def _last_chunk(record: RequestRecord, answer: UpstreamAnswer) -> bytes:
    """Give the end of a chunked answer, with trailers if the client understands them (RFC 9112 section 7.1.2)."""
    if answer.trailers is None or not record.trailers:
        return b"0\r\n\r\n"
    trailers = passed_lines(answer.trailers, _REMOVED_TRAILERS)
    return b"".join((b"0\r\n", *(line + b"\r\n" for line in trailers), b"\r\n"))


def _answer_head(
    request: ClientRequest,
    record: RequestRecord,
    answer: UpstreamAnswer,
    framing: bytes,
    *,
    close: bool,
) -> bytes:
    status = answer.status
    lines = [b"HTTP/1.1 %d %b" % (status, answer.reason or REASONS.get(status, b""))]
    removed = record.snapshot.removed
    lines += passed_lines(answer.fields, removed.from_answers_with_cors if record.cors else removed.from_answers)
    lines.append(b"X-Request-Id: %b\r\n" % record.request_id.encode())
    limits = b"" if record.taken is None else rate_limit_lines(record.taken)
    return b"".join(
        (b"\r\n".join(lines), limits, record.cors, framing, connection_line(request.head, close=close), b"\r\n")
    )
