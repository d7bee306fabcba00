"""The public listener: aiohttp's low-level server, with answers of ours where it would repeat what a client sent."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import EMPTY_PAYLOAD, web
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from gateway.accounting.record import RequestRecord
from gateway.core.answers import error_answer
from gateway.core.decision import BadRequest, HeadTimedOut, HeadTooLarge, InternalError, TargetTooLong
from gateway.core.denials import refuse
from gateway.proxy.body import BodyGarbledFault
from gateway.proxy.clients import Clients
from gateway.proxy.fast import PlainServer
from gateway.proxy.incoming import Incoming
from gateway.proxy.respond import CLOSES, own_answer
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from gateway.accounting.moments import Moments
    from gateway.adapters.journal import Journal
    from gateway.core.snapshot import ConnectionLimits
    from gateway.live import Live
    from gateway.proxy.clients import Client
    from gateway.proxy.handler import Gateway
    from gateway.telemetry.telemetry import Telemetry

WRITE_BUFFER_BYTES: Final = 256 * 1024
PARSER_MARGIN: Final = 1024
LINGERING_S: Final = 2.0
LOOK_S: Final = 0.02


class ParserMissing(ValueError):
    """aiohttp would read requests with its parser in Python, which accepts what its compiled one refuses."""


def require_compiled_parser() -> None:
    """Refuse to serve with any other parser than llhttp; raises ParserMissing."""
    if HttpRequestParser.__module__ != "aiohttp._http_parser":
        message = (
            "aiohttp has no compiled HTTP parser here: unset AIOHTTP_NO_EXTENSIONS, or install aiohttp from its wheel"
        )
        raise ParserMissing(message)


class ClientConnection(RequestHandler):
    """One client connection. What the parser refuses is answered in our words, without the client's bytes."""

    __slots__ = ("_announced", "_begun", "_client", "_head_since", "_server")

    def __init__(self, server: PublicServer, announced: str | None, **options: Any) -> None:
        """Serve for *server* a client at the *announced* address."""
        super().__init__(server, **options)
        self._server = server
        self._announced = announced
        self._client: Client | None = None
        self._begun = False
        self._head_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bound what is buffered for a slow reader (asyncio calls this)."""
        made = cast("asyncio.Transport", transport)
        self._client = self._server.clients.opened(made, self, self._announced)
        if self._client is None:
            return
        self._head_since = self._loop.time()
        super().connection_made(transport)
        made.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note the end (asyncio calls this)."""
        if self._client is not None:
            self._server.clients.lost(self._client)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Tell a request at once that its body cannot be read (asyncio calls this); aiohttp would let it wait."""
        if not self._begun and self._idle:
            self._begun, self._head_since = True, self._loop.time()
        super().data_received(data)
        if not self._idle:
            self._begun, self._head_since = False, None
        if self._messages and isinstance(self._messages[-1][0], _ErrInfo):
            if len(self._messages) > 1:
                payload = self._messages[-2][1]
            elif self._current_request is not None:
                payload = self._current_request.content
            else:
                return
            if not payload.is_eof():
                payload.set_exception(BodyGarbledFault())

    @property
    def _idle(self) -> bool:
        return self._current_request is None and not self._messages

    @property
    def peer(self) -> str:
        """The address at the other end, empty on a Unix socket."""
        return "" if self._client is None else self._client.peer

    def is_last(self) -> bool:
        """Count a request, and say whether the connection is to end with it."""
        assert self._client is not None
        self._client.requests += 1
        return 0 < self._server.clients.requests_max <= self._client.requests

    def waited_too_long(self, now: float, limits: ConnectionLimits) -> str | None:
        """Refuse a head that is late; a client that said nothing is not answered (the sweep calls this)."""
        if self._head_since is None or now - self._head_since < limits.head_s:
            return None
        self._head_since = None
        if not self._begun:
            self.force_close()
            return None
        self._messages.append((_ErrInfo(HTTPStatus.REQUEST_TIMEOUT, TimeoutError(), ""), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        return "head"

    def _process_keepalive(self) -> None:
        """Leave a head that has begun to the sweep, and close what is idle (aiohttp calls this)."""
        if self._begun:
            self._keepalive_handle = None
        else:
            super()._process_keepalive()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  # the signature is aiohttp's
    ) -> web.StreamResponse:
        """Answer what is not a request, or what went wrong outside our handler; nothing of *message* is repeated."""
        return self._server.refuse_unparsed(request, self.peer, status, exc)


class PublicServer(web.Server):
    """Makes the protocol of every client: a connection of the fast tier, which turns into a ClientConnection."""

    def __init__(
        self,
        gateway: Gateway,
        live: Live[Any],
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
        super().__init__(cast("Any", gateway), request_factory=cast("Any", Incoming), handler_cancellation=True)
        self._watch = gateway.watch
        self._live = live
        self._journal = journal
        self._telemetry = telemetry
        self._moments = moments
        self._fast = fast
        self.clients = Clients(live, telemetry)
        self._plain = PlainServer(gateway, self._complete, self.clients, write_buffer_bytes=WRITE_BUFFER_BYTES)
        self.follow()

    def follow(self) -> None:
        """Treat new connections by the limits of the configuration that is in force now."""
        limits = self._live.current.request_limits
        # What is a little too large is a request that is refused, what is far too large is none.
        self._target_max = limits.target_max_bytes + PARSER_MARGIN
        field_max = limits.field_max_bytes + PARSER_MARGIN
        self._options: dict[str, Any] = {
            "access_log": None,
            "auto_decompress": False,
            "keepalive_timeout": self._live.current.connection_limits.idle_s,
            "lingering_time": LINGERING_S,
            "max_line_size": self._target_max,
            "max_field_size": field_max + (field_max == self._target_max),
            "max_headers": limits.fields_max + 1,
            "tcp_keepalive": True,
        }

    def __call__(self) -> RequestHandler:
        """Make the protocol of a new connection (asyncio calls this)."""
        # aiohttp's types know only its own protocol.
        return cast("RequestHandler", self.protocol(None))

    def protocol(self, announced: str | None) -> asyncio.Protocol:
        """Make the protocol of a new connection, of a client at the *announced* address if it is not the peer's."""
        return self._plain(announced) if self._fast else self._complete(announced)

    def _complete(self, announced: str | None = None) -> ClientConnection:
        return ClientConnection(self, announced, loop=asyncio.get_running_loop(), **self._options)

    @property
    def connections(self) -> list[RequestHandler]:
        """All client connections, of both tiers."""
        return [*super().connections, *cast("set[RequestHandler]", self._plain.connections)]

    async def finish(self, linger_s: float, timeout_s: float) -> None:
        """End all connections in order, within *timeout_s*, then the others.

        For *linger_s* idle ones are kept, so that a request which is on its way is answered, and its client told to
        come on a new connection; a client that hears nothing cannot know whether its request was served.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + linger_s
        self.wind_down()
        await asyncio.sleep(LOOK_S)  # What was accepted a moment ago is not known yet.
        while self.connections and loop.time() < until:  # noqa: ASYNC110  # as often as connections end
            await asyncio.sleep(LOOK_S)
        self.pre_shutdown()
        await self.shutdown(timeout_s)

    def wind_down(self) -> None:
        """Have every connection end with its next answer, which says so, as all answers do from now on."""
        self.clients.wind_down()
        self._plain.wind_down()
        for connection in super().connections:
            request = connection._current_request  # noqa: SLF001  # aiohttp shows it only to its own
            if isinstance(request, Incoming):
                request.close_after()

    def pre_shutdown(self) -> None:
        """Close idle connections and tunnels; busy ones close when they have answered."""
        self._watch.drain()
        self._plain.pre_shutdown()
        super().pre_shutdown()

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # the signature is aiohttp's
        """Wait *timeout* seconds for requests under way, then end them."""
        await asyncio.gather(self._plain.shutdown(timeout), super().shutdown(timeout))

    def refuse_unparsed(
        self, request: web.BaseRequest, peer: str, status: int, error: BaseException | None
    ) -> web.StreamResponse:
        """Answer bytes that are not a request, record them, and close."""
        record = RequestRecord("-", peer, self._moments.now(), self._live.current)
        if status == HTTPStatus.REQUEST_TIMEOUT:
            refusal = refuse(HeadTimedOut())
        elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
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
