"""Envoy's routes: one for each way that the decision can name, and those of the gateway's own paths.

No path leads to an upstream: the routes of upstreams are told apart by a field of the decision, which no client can
send. What Envoy takes for a path of the gateway's own goes to the gateway, which decides on it itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gateway.render.envoy_types import FILTERS, seconds, typed
from gateway.render.front import expression, own_patterns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.core.routes import Route
    from gateway.core.snapshot import Snapshot

BUFFERED_MAX: Final = 16 * 1024 * 1024
"""Bodies without a declared length are held back up to their limit, so that a larger one is refused, if it is below."""
OWN_S: Final = 60.0
"""How long the gateway may take for an answer of its own."""
BUFFER: Final = "envoy.filters.http.buffer"
ITSELF: Final = "gateway.itself"
_UNDECIDED: Final = {
    "# Here is what is still to be decided on. What was, and still is here, is of newer settings than this file.": None,
    "match": {"prefix": "/"},
    "direct_response": {"status": 500},
}


def cluster_name(upstream: str) -> str:
    """Give the name of the cluster of an upstream."""
    return f"gateway_to_{upstream}"


def route_configuration(snapshot: Snapshot) -> dict[str, Any]:
    """Give all routes, on any host."""
    routes = [*_own(snapshot), *(route for ways in _ways(snapshot) for route in _decided(snapshot, ways)), _UNDECIDED]
    hosts = [{"name": "every", "domains": ["*"], "routes": routes}]
    return {"name": "gateway", "virtual_hosts": hosts}


def unbuffered(snapshot: Snapshot) -> list[str]:
    """Name the routes whose limit does not hold for bodies without a declared length."""
    routes = (route for route in snapshot.routes.routes if route.upstream is not None)
    return [route.name for route in routes if not _buffers(route)]


def _buffers(route: Route) -> bool:
    return 0 < route.body_max_bytes <= BUFFERED_MAX


def _own(snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    for pattern in own_patterns(snapshot):
        text = expression(pattern, snapshot.strip_prefixes)
        disabled = typed(f"{FILTERS}.http.ext_authz.v3.ExtAuthzPerRoute", disabled=True)
        yield {
            "match": {"safe_regex": {"regex": text}},
            "route": {"cluster": ITSELF, "timeout": seconds(OWN_S), "idle_timeout": seconds(OWN_S)},
            "metadata": {"filter_metadata": {"gateway": {"upstream": "gateway"}}},
            "typed_per_filter_config": {"envoy.filters.http.ext_authz": disabled, BUFFER: _buffer(disabled=True)},
        }


def _ways(snapshot: Snapshot) -> list[list[Route]]:
    """Give the routes that Envoy treats alike, together."""
    ways: dict[object, list[Route]] = {}
    for route in snapshot.routes.routes:
        if route.upstream is not None:
            ways.setdefault((route.upstream, route.timeouts, route.body_max_bytes), []).append(route)
    return list(ways.values())


def _decided(snapshot: Snapshot, ways: Sequence[Route]) -> Iterator[dict[str, Any]]:
    first = ways[0]
    names = "|".join(re.escape(route.name) for route in ways)
    decided = {"name": "x-gateway-route", "string_match": {"safe_regex": {"regex": names}}}
    way = {
        "route": _action(snapshot, first),
        "metadata": {
            "filter_metadata": {"gateway": {"upstream": first.upstream, "body_max_bytes": str(first.body_max_bytes)}}
        },
    }
    if _buffers(first):
        undeclared = {"name": "content-length", "present_match": True, "invert_match": True}
        match = {"prefix": "/", "headers": [decided, undeclared]}
        limit = _buffer(buffer={"max_request_bytes": first.body_max_bytes})
        yield {"match": match, **way, "typed_per_filter_config": {BUFFER: limit}}
    passing = {BUFFER: _buffer(disabled=True)}
    yield {"match": {"prefix": "/", "headers": [decided]}, **way, "typed_per_filter_config": passing}


def _buffer(**fields: Any) -> dict[str, Any]:
    return typed(f"{FILTERS}.http.buffer.v3.BufferPerRoute", **fields)


def _action(snapshot: Snapshot, route: Route) -> dict[str, Any]:
    assert route.upstream is not None
    upstream, timeouts = snapshot.upstreams[route.upstream], route.timeouts
    host = {} if upstream.preserve_host else {"auto_host_rewrite": True}
    once = {"retry_on": "connect-failure", "num_retries": 1} if len(upstream.targets) > 1 else None
    return {
        "cluster": cluster_name(route.upstream),
        "# The path is sent as it was decided on; Envoy puts the query behind it as it came.": None,
        "path_rewrite": "%REQ(x-gateway-path)%",
        **host,
        "timeout": seconds(timeouts.total_s),
        "idle_timeout": seconds(max(timeouts.first_byte_s, timeouts.idle_s)),
        **({} if once is None else {"retry_policy": once}),
    }
