"""Envoy's own protocol: decisions as `envoy.service.auth.v3.Authorization/Check`, over gRPC.

The same decisions as by HTTP, with another reader and another writer. Needs the extra `grpc`; imported only where
`sidecar.grpc` is set.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import grpc

from gateway.sidecar.decisions import Asked
from gateway.sidecar.envoy import TO_REMOVE
from gateway.sidecar.envoy_messages import CheckRequest, CheckResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from gateway.adapters.journal import Journal
    from gateway.settings.schema import GrpcListener
    from gateway.sidecar.answer import Reply
    from gateway.sidecar.decisions import Decisions

SERVICE: Final = "envoy.service.auth.v3.Authorization"
EVENT_ID: Final = "X-Gateway-Event-Id"
UNDER_WAY_MAX: Final = 4096
"""Checks of one worker at the same time; further ones are refused, which Envoy answers with 503."""
_OPTIONS: Final = (("grpc.so_reuseport", 1), ("grpc.max_receive_message_length", 1024 * 1024))
_OK, _PERMISSION_DENIED = 0, 7
_OVERWRITE: Final = 2


class GrpcFields:
    """The fields of the original request, by their names in lower case."""

    __slots__ = ("_values",)

    def __init__(self, http: Any) -> None:
        """Read those of an `AttributeContext.HttpRequest`: raw ones, or texts in which repeated fields are joined."""
        self._values: dict[str, list[str]] = {}
        for header in (*http.header_map.headers, *http.headers):
            raw = getattr(header, "raw_value", b"").decode("utf-8", "surrogateescape")
            self._values.setdefault(header.key.lower(), []).append(raw or header.value)

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]:
        """Give all values of the field *key*."""
        return self._values.get(key.lower(), default)


class Checks:
    """Answers each check; its usage event is in the journal before."""

    def __init__(self, decisions: Decisions, journal: Journal) -> None:
        """Ask *decisions*, which write to *journal*."""
        self._decisions = decisions
        self._journal = journal

    async def check(self, request: Any, context: Any) -> Any:
        """Decide on a `CheckRequest`."""
        http = request.attributes.request.http
        asked = Asked(http.method, f"/envoy{http.path}", GrpcFields(http), (), _address(context.peer()))
        try:
            reply = await self._decisions.decide(asked)
        finally:
            self._journal.flush()
        return answer(reply)


def answer(reply: Reply) -> Any:
    """Give the `CheckResponse` that says what *reply* says."""
    lines = [line.partition(": ")[::2] for line in reply.lines.decode("latin-1").split("\r\n")[:-1]]
    if reply.status != 200:
        denied = {"status": {"code": reply.status}, "headers": _written(lines), "body": reply.body.decode()}
        return CheckResponse(status={"code": _PERMISSION_DENIED}, denied_response=denied)
    fields = dict(lines)
    removed = fields.pop(TO_REMOVE.decode(), "")
    upstream = [(name, value) for name, value in fields.items() if value and name.startswith(("X-Gateway-", "X-Req"))]
    client = [
        (name, value) for name, value in fields.items() if name.startswith(("X-RateLimit-", "RateLimit", "X-Req"))
    ]
    admitted = {
        "headers": _written(upstream),
        "headers_to_remove": removed.split(",") if removed else [],
        "response_headers_to_add": _written(client),
    }
    told = {"fields": [{"key": EVENT_ID.lower(), "value": {"text": fields[EVENT_ID]}}]}
    return CheckResponse(status={"code": _OK}, ok_response=admitted, dynamic_metadata=told)


def _written(fields: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"header": {"key": name, "value": value}, "append_action": _OVERWRITE} for name, value in fields]


def _address(peer: str) -> str:
    """Give the address in gRPC's name of a caller, such as `ipv4:127.0.0.1:1234` or `ipv6:%5B::1%5D:1234`."""
    kind, _, rest = peer.partition(":")
    host = rest.rpartition(":")[0]
    return host.removeprefix("%5B").removeprefix("[").removesuffix("%5D").removesuffix("]") if kind != "unix" else ""


@asynccontextmanager
async def answering(checks: Checks, listener: GrpcListener, patience_s: float) -> AsyncIterator[None]:
    """Answer on *listener* while the block runs, then let what is under way finish for *patience_s*.

    Every worker listens there by itself; the system spreads connections over them. Raises OSError when it cannot.
    """
    server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=UNDER_WAY_MAX)
    handler = grpc.unary_unary_rpc_method_handler(
        checks.check,
        request_deserializer=CheckRequest.FromString,
        response_serializer=CheckResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Check": handler}),))
    host = f"[{listener.address}]" if ":" in listener.address else listener.address
    try:
        server.add_insecure_port(f"{host}:{listener.port}")
    except RuntimeError as error:
        raise OSError(f"sidecar.grpc: cannot listen on {host}:{listener.port}") from error
    await server.start()
    try:
        yield
    finally:
        await server.stop(patience_s)
