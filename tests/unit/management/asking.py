"""Requests as the answer functions of the control plane get them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from multidict import CIMultiDict

from gateway.core.answers import Asked
from gateway.core.bucket import Algorithm, Limit, LimitBy
from gateway.core.network import AddressSet
from gateway.core.routes import RouteTable
from gateway.core.snapshot import KeyFormat, RequestLimits, Snapshot
from gateway.settings.compile import BUILT_IN_ROUTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.decision import Principal

NOW: Final = 1_800_000_000.0

SNAPSHOT: Final = Snapshot(
    version="test",
    routes=RouteTable(BUILT_IN_ROUTES),
    scopes={"READ_BUDGETS": "Read budgets", "WRITE_BUDGETS": "Change budgets", "WEBHOOKS": "Test webhooks"},
    upstreams={},
    trusted_proxies=AddressSet(()),
    strip_prefixes=("/v1",),
    key_format=KeyFormat(),
    request_limits=RequestLimits(),
    algorithm=Algorithm.TOKEN_BUCKET,
    on_limiter_error="local",
    failed_authentications=Limit("failed", 2000, 100_000, Algorithm.TOKEN_BUCKET, LimitBy.ADDRESS),
    removed_headers=(),
)


def asked_with(
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "POST",
    segments: tuple[str, ...] = (),
    query: str = "",
    principal: Principal | None = None,
    now: float = NOW,
    answer: str = "login",
    address: str = "203.0.113.9",
) -> Asked:
    """Give a request as the proxy hands it over to the function called *answer*."""
    return Asked(
        snapshot=SNAPSHOT,
        route=next((route for route in BUILT_IN_ROUTES if route.answer == answer), BUILT_IN_ROUTES[0]),
        method=method,
        segments=segments,
        query=query,
        headers=CIMultiDict(headers or {}),
        body=body,
        client_address=address,
        request_id="req_0123456789abcdef",
        principal=principal,
        now=now,
    )
