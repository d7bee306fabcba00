"""Answering: a decision as lines of a head that the proxy passes on, upstream or to its client.

Both tiers of the listener write the same lines; the fast one writes them as they are.
"""

from __future__ import annotations

import json
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.core.headers import rate_limit_lines
from gateway.sidecar.dialects import Dialect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.answers import Answer
    from gateway.core.bucket import Taken
    from gateway.core.decision import Admit
    from gateway.core.paths import Target
    from gateway.core.routes import Route

STATUS: Final = "X-Gateway-Status"
ERROR_BODY: Final = "X-Gateway-Error-Body"
IDENTITY: Final = (b"X-Gateway-Key-Id", b"X-Gateway-Account-Id", b"X-Gateway-Scopes", b"X-Gateway-Identity")
UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
IDENTITIES_REMEMBERED_MAX: Final = 4096
UNLIMITED: Final = b"X-RateLimit-Limit: \r\nX-RateLimit-Remaining: \r\nX-RateLimit-Reset: \r\nX-RateLimit-Window: \r\n"
_REASONS: Final[Mapping[int, bytes]] = {status.value: status.phrase.encode() for status in HTTPStatus}


class Reply(Struct):
    """The answer to a proxy. *lines* are those of the head that both tiers have in common, each with its end."""

    status: int
    lines: bytes
    body: bytes = b""


def admitted(admit: Admit, route: Route, target: Target, taken: Taken | None, request_id: str, event_id: str) -> Reply:
    """Answer 200. What a client must not set is there each time, empty if need be, so that its own never survives.

    *target* goes back as it was decided on, for the proxy to send that and nothing else; *event_id* for its report.
    """
    return Reply(
        200,
        b"%b%bX-Gateway-Target: %b\r\nX-Request-Id: %b\r\nX-Gateway-Event-Id: %b\r\n"
        % (
            _who_and_where(admit.identity, route.upstream),
            UNLIMITED if taken is None else rate_limit_lines(taken),
            f"{target.path}{target.query}".encode("utf-8", "surrogateescape"),
            request_id.encode(),
            event_id.encode(),
        ),
    )


@lru_cache(IDENTITIES_REMEMBERED_MAX)
def _who_and_where(identity: bytes, upstream: str | None) -> bytes:
    """Give what the admissions of a key on a route have in common."""
    known = {line.partition(b":")[0] for line in identity.split(b"\r\n")}
    missing = b"".join(b"%b: \r\n" % name for name in IDENTITY if name not in known)
    return b"Cache-Control: no-store\r\n%b%bX-Gateway-Upstream: %b\r\n" % (identity, missing, (upstream or "").encode())


def refused(answer: Answer, dialect: Dialect, taken: Taken | None, request_id: str) -> Reply:
    """Answer a refusal: as it is, or for nginx, which knows 401 and 403 and drops bodies, with all of it in fields."""
    fields = [*answer.headers, ("X-Request-Id", request_id), ("Cache-Control", answer.caching)]
    status = answer.status
    if dialect is Dialect.NGINX:
        fields += [(STATUS, str(status)), (ERROR_BODY, json.dumps(json.loads(answer.body), separators=(",", ":")))]
        status = UNAUTHORIZED if status == UNAUTHORIZED else FORBIDDEN
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1", "replace")
    return Reply(status, lines if taken is None else lines + rate_limit_lines(taken), answer.body)


def written(reply: Reply, date: bytes, *, without_body: bool, last: bool) -> bytes:
    """Give the bytes of *reply*, its body left out of the answer to a HEAD; *last* closes the connection."""
    return b"HTTP/1.1 %d %b\r\nDate: %b\r\nContent-Length: %d\r\n%b%b\r\n%b" % (
        reply.status,
        _REASONS.get(reply.status, b""),
        date,
        len(reply.body),
        b"Connection: close\r\n" if last else b"",
        reply.lines,
        b"" if without_body else reply.body,
    )
