"""Answering: a decision as fields that the proxy passes on, upstream or to its client."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from aiohttp import web
from multidict import CIMultiDict

from gateway.core.headers import rate_limit_headers
from gateway.sidecar.dialects import Dialect

if TYPE_CHECKING:
    from gateway.core.answers import Answer
    from gateway.core.bucket import Taken
    from gateway.core.decision import Admit
    from gateway.core.paths import Target
    from gateway.core.routes import Route

STATUS: Final = "X-Gateway-Status"
ERROR_BODY: Final = "X-Gateway-Error-Body"
UPSTREAM: Final = "X-Gateway-Upstream"
TARGET: Final = "X-Gateway-Target"
IDENTITY: Final = ("X-Gateway-Key-Id", "X-Gateway-Account-Id", "X-Gateway-Scopes", "X-Gateway-Identity")
RATE_LIMIT: Final = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-RateLimit-Window")
UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403


def admitted(admit: Admit, route: Route, target: Target, taken: Taken | None, request_id: str) -> web.Response:
    """Answer 200. What a client must not set is there each time, empty if need be, so that its own never survives.

    *target* goes back as it was decided on, for the proxy to send that and nothing else.
    """
    fields = dict.fromkeys((*IDENTITY, *RATE_LIMIT), "")
    for line in admit.identity.decode("latin-1").split("\r\n")[:-1]:
        name, _, value = line.partition(": ")
        fields[name] = value
    fields.update(() if taken is None else rate_limit_headers(taken))
    fields |= {UPSTREAM: route.upstream or "", TARGET: target.path + target.query}
    fields |= {"X-Request-Id": request_id, "Cache-Control": "no-store"}
    return web.Response(headers=fields)


def refused(answer: Answer, dialect: Dialect, taken: Taken | None, request_id: str) -> web.Response:
    """Answer a refusal: as it is, or for nginx, which knows 401 and 403 and drops bodies, with all of it in fields."""
    fields = CIMultiDict(answer.headers)
    fields.extend({"X-Request-Id": request_id, "Cache-Control": answer.caching})
    fields.extend(() if taken is None else rate_limit_headers(taken))
    status = answer.status
    if dialect is Dialect.NGINX:
        fields[STATUS] = str(status)
        fields[ERROR_BODY] = json.dumps(json.loads(answer.body), separators=(",", ":"))
        status = UNAUTHORIZED if status == UNAUTHORIZED else FORBIDDEN
    return web.Response(status=status, body=answer.body, headers=fields)
