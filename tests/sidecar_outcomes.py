"""What came of a request: its answer, what the backend got, and its usage event, as far as modes can have it in common."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, Protocol

from tests.wire import fresh_address

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tests.gateways import Gateway
    from tests.sidecar_cases import Asked
    from tests.wire import Answer, Wire

TOLD = ("www-authenticate", "allow", "cache-control", "content-type", "x-ratelimit-limit", "x-ratelimit-remaining")
TOLD_TOO = ("x-ratelimit-window", "ratelimit-policy", "x-other")
ABOUT_NOW = ("x-ratelimit-reset", "retry-after")
DIFFERENT = ("id", "at", "day", "request_id", "duration_us", "upstream_us", "target", "mode", "bytes_in", "bytes_out")
"""What no two events have in common, and what only who carries the request knows."""

Outcome = dict[str, Any]
"""By names such as `answer.status`, `backend.fields.host` and `event.outcome`."""


class Port(Protocol):
    """The gateway, or a proxy that asks it."""

    def connect(self, source: str) -> Wire:
        """Open a connection as the client at *source*."""
        ...


def outcomes(
    gateway: Gateway, ports: Mapping[str, Port], asked: Asked, unasked: Collection[str] = ()
) -> dict[str, Outcome]:
    """Ask through each of *ports*, as another client with another key, and give what came of each.

    The *unasked* among them refuse by themselves, and have no usage event.
    """
    template = any("{key}" in field for field in asked.fields)
    keys = [asked.key or ""] * len(ports)
    if asked.scopes is not None or template:
        wanted = {
            "scopes": asked.scopes or ("READ_BUDGETS",),
            "rate_limit_per_hour": asked.limit,
            **dict(asked.options),
        }
        keys = [made.key for made in gateway.make_keys([wanted] * len(ports))]
    told: dict[str, tuple[Answer, Outcome, dict[str, str]]] = {}
    ids: dict[str, str] = {}
    for (name, port), key in zip(ports.items(), keys, strict=True):
        source = fresh_address()
        gateway.backend.forget()
        answer = _ask(port, source, asked, None if template else key or None, key)
        ids[name] = _request_id(gateway, answer)
        told[name] = answer, _received(gateway), {key[:12] or "-": "PREFIX", source: "CLIENT"}
    events = gateway.events([request_id for name, request_id in ids.items() if name not in unasked])
    return {
        name: _outcome(answer, received, events.get(ids[name], {}), ours)
        for name, (answer, received, ours) in told.items()
    }


def _request_id(gateway: Gateway, answer: Answer) -> str:
    """Give the id that the answer has, or that at least the backend got."""
    of_answer = answer.all("x-request-id")
    if not of_answer and gateway.backend.requests:
        of_answer = gateway.backend.last.all("x-request-id")
    return "".join(of_answer)


def _ask(port: Port, source: str, asked: Asked, own: str | None, key: str) -> Answer:
    fields = [field.replace("{key}", key) for field in asked.fields]
    for _ in range(asked.times):
        with port.connect(source) as wire:
            # Who refuses a large body need not read it to its end.
            with contextlib.suppress(ConnectionError):
                wire.begin(asked.method, asked.path, own, fields, asked.body)
            answer = wire.answer(asked.method)
    return answer


def _outcome(answer: Answer, received: Outcome, event: dict[str, Any], ours: dict[str, str]) -> Outcome:
    # Identifiers last: a key's prefix could be part of nothing else.
    ours |= {event[name]: name.upper() for name in ("key_id", "account_id") if event.get(name)}
    kept = {name: value for name, value in event.items() if name not in DIFFERENT}
    if kept.get("outcome") == "admitted":
        kept["status"] = None
    outcome = {f"event.{name}": value for name, value in kept.items()}
    return {name: _plain(value, ours) for name, value in (_told(answer) | received | outcome).items()}


def _plain(value: Any, ours: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_plain(one, ours) for one in value]
    if isinstance(value, str):
        for own, name in ours.items():
            value = value.replace(own, name)
    return value


def _told(answer: Answer) -> Outcome:
    told: dict[str, Any] = {name: answer.all(name) for name in (*TOLD, *TOLD_TOO)} | {"status": answer.status}
    told |= {name: len(answer.all(name)) for name in (*ABOUT_NOW, "x-request-id", "ratelimit")}
    told["length"] = [] if answer.status >= 400 else answer.all("content-length")
    told["ours"] = [
        line for line in answer.head.decode("latin-1").split("\r\n") if line.lower().startswith("x-gateway")
    ]
    body = answer.body.decode()
    if body.startswith('{"error"'):
        document = answer.json
        assert document.pop("requestId") == answer.one("x-request-id")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", document.pop("timestamp"))
        document.get("details", {}).pop("resetAt", None)
        body = re.sub(r"in \d+ seconds", "in N seconds", repr(document))
    told["body"] = body
    return {f"answer.{name}": value for name, value in told.items()}


def _received(gateway: Gateway) -> Outcome:
    if not gateway.backend.requests:
        return {"backend": None}
    received = gateway.backend.last
    fields: dict[str, list[str]] = {}
    for name, value in received.fields:
        if value:  # A field without a value says as much as none, which is what some proxies make of it.
            fields.setdefault(name.lower(), []).append(value)
    for name in ("x-request-id", "traceparent", "connection"):
        fields.pop(name, None)
    if "x-gateway-identity" in fields:
        fields["x-gateway-identity"] = [str(token.count(".")) for token in fields["x-gateway-identity"]]
    whole = {"backend.line": received.line, "backend.size": received.size, "backend.digest": received.digest}
    return whole | {f"backend.fields.{name}": value for name, value in fields.items()}


def differing(one: Outcome, other: Outcome) -> dict[str, tuple[Any, Any]]:
    """Give what two outcomes do not have in common."""
    names = sorted(one.keys() | other.keys())
    return {name: (one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)}
