"""The public listener: aiohttp's low-level server, with answers of ours where it would repeat what a client sent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from gateway.accounting.record import RequestRecord
from gateway.core.answers import error_answer
from gateway.core.decision import BadRequest, HeadTooLarge, InternalError, TargetTooLong
from gateway.core.denials import refuse
from gateway.proxy.body import BodyGarbledFault
from gateway.proxy.fast import PlainServer
from gateway.proxy.incoming import Incoming
from gateway.proxy.respond import CLOSES, own_answer
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from gateway.accounting.moments import Moments
    from gateway.adapters.journal import Journal
    from gateway.live import Live
    from gateway.proxy.handler import Gateway
    from gateway.telemetry.telemetry import Telemetry

WRITE_BUFFER_BYTES: Final = 256 * 1024
PARSER_MARGIN: Final = 1024
KEEPALIVE_S: Final = 75.0
LINGERING_S: Final = 2.0


class ClientConnection(RequestHandler):
    """One client connection. What the parser refuses is answered in our words, without the client's bytes."""

    __slots__ = ("_server",)

    def __init__(self, server: PublicServer, **options: Any) -> None:
        """Serve for *server*."""
        super().__init__(server, **options)
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bound what is buffered for a slow reader (asyncio calls this)."""
        super().connection_made(transport)
        cast("asyncio.Transport", transport).set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        """Tell a request at once that its body cannot be read (asyncio calls this); aiohttp would let it wait."""
        super().data_received(data)
        if self._messages and isinstance(self._messages[-1][0], _ErrInfo):
            if len(self._messages) > 1:
                payload = self._messages[-2][1]
            elif self._current_request is not None:
                payload = self._current_request.content
            else:
                return
            if not payload.is_eof():
                payload.set_exception(BodyGarbledFault())

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  # the signature is aiohttp's
    ) -> web.StreamResponse:
        """Answer what is not a request, or what went wrong outside our handler; nothing of *message* is repeated."""
        return self._server.refuse_unparsed(request, status, exc)


class PublicServer(web.Server):
    """Makes the protocol of every client: a connection of the fast tier, which turns into a ClientConnection."""

    def __init__(
        self,
        gateway: Gateway,
        live: Live,
        journal: Journal,
        telemetry: Telemetry,
        moments: Moments,
        *,
        fast: bool = True,
    ) -> None:
        """Serve *gateway*; bodies are never inflated, and a client that goes away cancels its request.

        Without *fast* there is only the complete tier.
        """
        # The factory makes Incoming of every request, which aiohttp's types cannot say.
        super().__init__(cast("Any", gateway), request_factory=Incoming, handler_cancellation=True)
        self._live = live
        self._journal = journal
        self._telemetry = telemetry
        self._moments = moments
        limits = live.current.request_limits
        # What is a little too large is a request that is refused, what is far too large is none.
        self._target_max = limits.target_max_bytes + PARSER_MARGIN
        field_max = limits.field_max_bytes + PARSER_MARGIN
        self._options: dict[str, Any] = {
            "access_log": None,
            "auto_decompress": False,
            "keepalive_timeout": KEEPALIVE_S,
            "lingering_time": LINGERING_S,
            "max_line_size": self._target_max,
            "max_field_size": field_max + (field_max == self._target_max),
            "max_headers": limits.fields_max + 1,
            "tcp_keepalive": True,
        }
        parsing = ("auto_decompress", "max_line_size", "max_field_size", "max_headers")
        self._fast = fast
        self._plain = PlainServer(
            gateway,
            self._complete,
            idle_s=KEEPALIVE_S,
            write_buffer_bytes=WRITE_BUFFER_BYTES,
            parser_options={name: self._options[name] for name in parsing},
        )

    def __call__(self) -> RequestHandler:
        """Make the protocol of a new connection (asyncio calls this)."""
        # aiohttp's types know only its own protocol.
        return cast("RequestHandler", self._plain()) if self._fast else self._complete()

    def _complete(self) -> ClientConnection:
        return ClientConnection(self, loop=asyncio.get_running_loop(), **self._options)

    @property
    def connections(self) -> list[RequestHandler]:
        """All client connections, of both tiers."""
        return [*super().connections, *cast("set[RequestHandler]", self._plain.connections)]

    def pre_shutdown(self) -> None:
        """Close idle connections; busy ones close when they have answered."""
        self._plain.pre_shutdown()
        super().pre_shutdown()

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # the signature is aiohttp's
        """Wait *timeout* seconds for requests under way, then end them."""
        await asyncio.gather(self._plain.shutdown(timeout), super().shutdown(timeout))

    def refuse_unparsed(self, request: web.BaseRequest, status: int, error: BaseException | None) -> web.StreamResponse:
        """Answer bytes that are not a request, record them, and close."""
        record = RequestRecord("-", request.remote or "", self._moments.now(), self._live.current)
        if status >= 500:
            refusal = refuse(InternalError())
        elif isinstance(error, LineTooLong) and error.args[1] == self._target_max:
            refusal = refuse(TargetTooLong(self._live.current.request_limits.target_max_bytes))
        elif isinstance(error, BadHttpMessage) and (isinstance(error, LineTooLong) or "Too many" in error.message):
            refusal = refuse(HeadTooLarge())
        else:
            refusal = refuse(BadRequest("The request is not valid HTTP/1.1"))
        answer = error_answer(refusal, record.request_id, record.now)
        record.outcome, record.status = refusal.code, refusal.status
        record.bytes_out = len(answer.body)
        self._telemetry.add(metrics.DENIALS, 1, refusal.code)
        record.finish(self._journal, self._telemetry, self._moments)
        transport = request.transport
        if transport is not None:
            date = self._moments.date(record.now)
            data = own_answer(answer, record.request_id, date, b"Connection: close\r\n", b"", head=False)
            self._journal.answer(transport, data)
        self._journal.flush()
        return CLOSES
