"""Answers of the gateway's own: the envelope of errors, and what a built-in answer is asked and gives.

Contract section 5. Proxied answers never take this form; their bytes pass through.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.core.denials import iso_time

if TYPE_CHECKING:
    from gateway.core.decision import Principal
    from gateway.core.denials import Refusal
    from gateway.core.routes import Route
    from gateway.core.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to one of the gateway's own answers, its body read in full. *now* is in Unix seconds."""

    snapshot: Snapshot
    route: Route
    method: str
    segments: tuple[str, ...]
    query: str
    headers: Mapping[str, str]
    body: bytes
    client_address: str
    request_id: str
    principal: Principal | None
    now: float


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer. *headers* come beside Content-Length, X-Request-Id and Cache-Control, which every one has.

    *caching* is what Cache-Control says.
    """

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    close: bool = False
    outcome: str = "admitted"
    caching: str = "no-store"


AnswerFunction = Callable[[Asked], Awaitable[Answer]]
Answers = Mapping[str, AnswerFunction]

JSON_TYPE = ("Content-Type", "application/json; charset=utf-8")


def json_answer(status: int, value: Any, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """Answer with *value* as compact JSON."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Answer(status, body, (JSON_TYPE, *headers))


def error_envelope(refusal: Refusal, request_id: str, timestamp: str) -> dict[str, Any]:
    """Give the envelope of contract section 5."""
    envelope: dict[str, Any] = {"error": refusal.code, "message": refusal.message}
    if refusal.details is not None:
        envelope["details"] = refusal.details
    return envelope | {"timestamp": timestamp, "requestId": request_id}


def error_answer(refusal: Refusal, request_id: str, now: float) -> Answer:
    """Answer with the error envelope of contract section 5."""
    envelope = error_envelope(refusal, request_id, iso_time(now))
    body = json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode()
    return Answer(refusal.status, body, (JSON_TYPE, *refusal.headers), refusal.close, refusal.code)
