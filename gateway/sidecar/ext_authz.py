"""Decisions by Envoy's own protocol: `envoy.service.auth.v3.Authorization/Check`, over gRPC.

The same decisions as by HTTP, with another reader and another writer. Needs the extra `grpc`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc

from gateway.sidecar.decisions import Asked
from gateway.sidecar.envoy import TO_REMOVE
from gateway.sidecar.envoy_messages import CheckRequest, CheckResponse, reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.adapters.journal import Journal
    from gateway.sidecar.answer import Reply
    from gateway.sidecar.decisions import Decisions

SERVICE: Final = "envoy.service.auth.v3.Authorization"
EVENT_ID: Final = "X-Gateway-Event-Id"
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

    def handlers(self) -> Any:
        """Give them as gRPC takes them."""
        check = grpc.unary_unary_rpc_method_handler(
            self.check,
            request_deserializer=reader(CheckRequest),
            response_serializer=CheckResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"Check": check})

    def __init__(self, decisions: Decisions, journal: Journal) -> None:
        """Ask *decisions*, which write to *journal*."""
        self._decisions = decisions
        self._journal = journal

    async def check(self, request: Any, context: Any) -> Any:
        """Decide on a `CheckRequest`; None is one that could not be read."""
        if request is None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "this is no CheckRequest")
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
