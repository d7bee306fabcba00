"""One connection to an upstream: sends a request's bytes, reads its answer with llhttp, hands the bytes on.

Field names and values pass as bytes, in their order, spelling and number. An answer that is complete in one read is
given at once; a longer one is read on demand, and reading pauses while nobody wants more.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final, cast

import httptools

from gateway.adapters.http.exchange import NEVER
from gateway.adapters.http.faults import UpstreamClosed, UpstreamFault, UpstreamGarbled, UpstreamUntrusted

if TYPE_CHECKING:
    from gateway.adapters.http.exchange import Exchange
    from gateway.core.headers import Field

BUFFERED_MAX: Final = 256 * 1024
HEAD_MAX: Final = 64 * 1024


class UpstreamConnection(asyncio.Protocol):
    """A keep-alive connection that carries one exchange at a time."""

    __slots__ = (
        "_drained",
        "_fields",
        "_head_bytes",
        "_head_done",
        "_loop",
        "_parser",
        "_paused_reading",
        "closed",
        "exchange",
        "idle_since",
        "reusable",
        "transport",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make an unconnected connection; asyncio connects it."""
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._fields: list[Field] = []
        self._head_bytes = 0
        self._head_done = False
        self._paused_reading = False
        self._drained: asyncio.Future[None] | None = None
        self.transport: asyncio.Transport | None = None
        self.exchange: Exchange | None = None
        self.closed = False
        self.reusable = True
        self.idle_since = 0.0

    # The asyncio side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio calls this)."""
        # uvloop's transports are asyncio's by behaviour, not by class.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came (asyncio calls this); bytes that nobody asked for end the connection."""
        exchange = self.exchange
        if exchange is None or exchange.complete:
            self.abort()
            return
        exchange.touched = True
        if self._parse(exchange, data):
            self._finish(exchange)
            return
        exchange.expect_within(exchange.idle_s, self._loop.time())
        if self._head_done and exchange.fault is None:
            if exchange.buffered > BUFFERED_MAX:
                self._pause_reading(exchange)
            exchange.wake()
        elif not self._head_done:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX:
                self.fail(UpstreamGarbled("the head is too large"))

    def eof_received(self) -> None:
        """Treat the upstream's half-close as the end (asyncio calls this)."""
        return

    def connection_lost(self, error: Exception | None) -> None:
        """End the exchange in progress (asyncio calls this): well only where the end of the body was the close."""
        self.closed = True
        self.reusable = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        exchange = self.exchange
        if exchange is None or exchange.complete or exchange.fault is not None:
            return
        if self._head_done and not exchange.framed and error is None:
            exchange.complete = True
        elif isinstance(error, ssl.SSLError):
            # With TLS 1.3 a server may refuse our certificate after it has let us speak.
            exchange.fault = UpstreamUntrusted("TLS ended before the answer did")
        else:
            exchange.fault = UpstreamClosed("the connection ended before the answer did")
        exchange.wake()

    def pause_writing(self) -> None:
        """Note that the upstream reads slowly (asyncio calls this)."""
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        """Note that the upstream reads again (asyncio calls this)."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    # The llhttp side.

    def on_message_begin(self) -> None:
        """Start a head (llhttp calls this); a second answer in one exchange is not believed."""
        exchange = self.exchange
        if exchange is None or exchange.complete:
            self.reusable = False
            message = "an answer that nobody asked for"
            raise UpstreamGarbled(message)
        self._fields = exchange.fields = []
        exchange.reason = b""
        self._head_done = False
        self._head_bytes = 0

    def on_status(self, reason: bytes) -> None:
        """Keep the reason phrase (llhttp calls this)."""
        if self.exchange is not None:
            self.exchange.reason = reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a field of the head, or a trailer (llhttp calls this)."""
        if not self._head_done:
            self._fields.append((name, value))
        elif self.exchange is not None:
            self._keep_trailer(self.exchange, name, value)

    def on_headers_complete(self) -> None:
        """Finish the head (llhttp calls this).

        Informational answers are skipped: clients of HTTP/1.1 that do not know 103 take it for the answer (RFC 8297
        section 3). A switch of protocols is refused unless it was asked for.
        """
        exchange = self.exchange
        if exchange is None:
            return
        status = self._parser.get_status_code()
        if status < 200:
            if status == 101 and exchange.upgrade and self._parser.should_upgrade():
                self._switch(exchange)
            elif status == 101:
                message = "an upgrade that nobody asked for"
                raise UpstreamGarbled(message)
            return
        exchange.status = status
        self._head_done = True
        if not self._parser.should_keep_alive():
            self.reusable = False
        if exchange.bodiless:
            exchange.complete = True

    def on_body(self, body: bytes) -> None:
        """Collect a piece of the body (llhttp calls this)."""
        exchange = self.exchange
        if exchange is not None and not exchange.complete:
            exchange.chunks.append(body)
            exchange.buffered += len(body)

    def on_message_complete(self) -> None:
        """Note the end of the answer (llhttp calls this)."""
        exchange = self.exchange
        if self._head_done and exchange is not None and not exchange.switched:
            exchange.complete = True

    # Our side.

    def begin(self, exchange: Exchange, data: bytes) -> None:
        """Send the first bytes of a request; the connection must be idle."""
        assert self.transport is not None
        self.exchange = exchange
        self._head_done = False
        self.transport.write(data)

    async def send(self, data: bytes) -> None:
        """Send more of a request's body, waiting while the upstream does not read."""
        drained = self.write(data)
        if drained is not None:
            await drained

    def write(self, data: bytes) -> asyncio.Future[None] | None:
        """Send bytes; while the upstream does not read, give what resolves when it does, or is gone."""
        transport = self.transport
        if transport is None or self.closed or transport.is_closing():
            return None
        transport.write(data)
        return self._drained

    async def read(self) -> tuple[bytes, bool]:
        """Give the next bytes of the body, and whether they are the last; raises UpstreamFault when it broke off."""
        exchange = self.exchange
        assert exchange is not None
        while not exchange.chunks and not exchange.complete:
            if exchange.fault is not None:
                raise exchange.fault
            self._resume_reading(exchange)
            exchange.wanted = self._loop.create_future()
            try:
                await exchange.wanted
            finally:
                exchange.wanted = None
        data = b"".join(exchange.chunks)
        exchange.chunks.clear()
        exchange.buffered = 0
        return data, exchange.complete

    def fail(self, fault: UpstreamFault) -> None:
        """End the exchange with *fault* and the connection with it."""
        exchange = self.exchange
        if exchange is not None and not exchange.complete and exchange.fault is None:
            exchange.fault = fault
            exchange.wake()
        self.abort()

    def abort(self) -> None:
        """Drop the connection at once."""
        self.reusable = False
        self.closed = True
        if self.transport is not None:
            self.transport.abort()

    def _parse(self, exchange: Exchange, data: bytes) -> bool:
        """Feed the parser and say whether the answer is complete; what is not an answer fails the exchange."""
        if exchange.switched:
            self.on_body(data)
            return False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as switch:
            self.on_body(data[switch.args[0] :])
        except httptools.HttpParserError as error:
            self.reusable = False
            if not exchange.complete:
                self.fail(UpstreamGarbled(f"not HTTP/1.1: {type(error).__name__}"))
        return exchange.complete

    def _switch(self, exchange: Exchange) -> None:
        """Go on without HTTP, and without the deadlines of an answer."""
        exchange.status = 101
        exchange.switched = True
        exchange.idle_s = exchange.total_deadline = NEVER
        self._head_done = True
        self.reusable = False

    def _keep_trailer(self, exchange: Exchange, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > HEAD_MAX:
            message = "the trailers are too large"
            raise UpstreamGarbled(message)
        if exchange.trailers is None:
            exchange.trailers = []
        exchange.trailers.append((name, value))

    def _finish(self, exchange: Exchange) -> None:
        if exchange.bodiless:
            # llhttp was not told that this answer has no body, and would wait for it.
            self._parser = httptools.HttpResponseParser(self)
        exchange.deadline = NEVER
        exchange.wake()

    def _pause_reading(self, exchange: Exchange) -> None:
        if not self._paused_reading and self.transport is not None:
            self._paused_reading = True
            self.transport.pause_reading()
            # The client is the slow one now, which is not the upstream's fault.
            exchange.deadline = exchange.total_deadline

    def _resume_reading(self, exchange: Exchange) -> None:
        if self._paused_reading and self.transport is not None and not self.closed:
            self._paused_reading = False
            exchange.deadline = min(exchange.total_deadline, self._loop.time() + exchange.idle_s)
            self.transport.resume_reading()
