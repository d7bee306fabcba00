"""Traefik: a dynamic configuration for its file provider that asks for each request as `forwardAuth` does.

Traefik finds router, upstream and target by the path, before it asks, and cannot be told any of them. The patterns are
those of the routes, in their order, on the path as it was sent; what could be read in two ways is refused when it asks.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import yaml

from gateway.core.upstreams import Balance
from gateway.render.front import (
    IDENTITY,
    RATE_LIMIT,
    NotRenderable,
    expression,
    not_carried,
    own_patterns,
    patience,
    place,
    removed_names,
)
from gateway.render.text import comments, milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.core.routes import Pattern, Route
    from gateway.core.snapshot import Snapshot
    from gateway.core.upstreams import UpstreamSettings
    from gateway.render.front import Front

_KEPT: Final = frozenset({"host", "authorization", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"})
_ASKING: Final = ("gateway-unbelieved", "gateway-decision")
_FORWARDED: Final = "x-forwarded-*"
_OTHER_FORWARDED: Final = "x-forwarded-(?:[^fph]|f(?:[^o]|o[^r]|or.)|p(?:[^r]|r[^o]|ro[^t])|h(?:[^o]|o[^s]))"
"""Those that Traefik does not write anew itself; its expressions know no other way to say so."""
_INTERNAL: Final = ("X-Gateway-Upstream", "X-Gateway-Target", "X-Gateway-Event-Id", "X-Gateway-Status")
_STATIC: Final = """\
The rest is told to Traefik itself, here as arguments:
  --providers.file.filename=THIS_FILE --entryPoints.{listen}.address=:80
  --entryPoints.{listen}.http.sanitizePath=false          (the gateway refuses what has two readings)
  --entryPoints.{listen}.transport.respondingTimeouts.readTimeout=0   (bodies may take their time)
NOT CARRIED: X-RateLimit-* and X-Request-Id of admitted answers, and the form of refusals of Traefik's own; bodies are
read to their end before they are sent on."""


def traefik_configuration(front: Front) -> str:
    """Give the text of a dynamic configuration; `listen` of *front* is the name of an entry point.

    Decisions have to be at an address, for Traefik reaches no socket. Raises NotRenderable.
    """
    snapshot = front.snapshot
    document = {
        "http": {
            "routers": dict(_routers(front)),
            "middlewares": _middlewares(front),
            "services": dict(_services(front)),
            "serversTransports": {name: _transport(snapshot, name) for name in snapshot.upstreams},
        }
    }
    head = [
        *comments(f"Written by `gateway render traefik` from the settings of version {snapshot.version}. Change"),
        *comments("gateway.yaml and write it again. Tested with Traefik 3.7.", ""),
        *comments(*_STATIC.format(listen=front.listen).split("\n")),
        *comments(*not_carried(snapshot, "CORS", "WebSocket")),
    ]
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)
    return "\n".join([*head, "", text])


def _routers(front: Front) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give a router a route, the first of them before the others, and one that has everything else refused."""
    snapshot = front.snapshot
    for pattern in own_patterns(snapshot):
        name = "itself" + re.sub(r"[^a-z]+", "-", pattern.text).rstrip("-")
        yield name, _router(front, _path(snapshot, pattern), 100_000, [_ASKING[0]], "gateway-itself")
    forwarded = [route for route in snapshot.routes.routes if route.upstream is not None]
    for number, route in enumerate(forwarded):
        rule = f"{_path(snapshot, route.pattern)} && ({_methods(route)})"
        steps = [*_ASKING, f"gateway-body-{route.body_max_bytes}"]
        steps += ["gateway-prefix"] if snapshot.strip_prefixes else []
        steps += ["gateway-fields", *([] if route.public else ["gateway-without-key"])]
        assert route.upstream is not None
        name = route.name.replace(".", "-")
        yield name, _router(front, rule, 90_000 - 2 * number, steps, route.upstream)
        if route.public:
            ours = "|".join(snapshot.key_format.prefixes)
            keyed = [*steps, "gateway-without-key"]
            held = f"{rule} && HeaderRegexp(`Authorization`, `{ours}`)"
            yield f"{name}-with-key", _router(front, held, 90_001 - 2 * number, keyed, route.upstream)
    # Nothing is admitted here: what no route has is 404 or 405.
    yield "refused", _router(front, "PathPrefix(`/`)", 1, [*_ASKING], "noop@internal")


def _router(front: Front, rule: str, priority: int, middlewares: list[str], service: str) -> dict[str, Any]:
    return {
        "entryPoints": [front.listen],
        "rule": rule,
        "priority": priority,
        "middlewares": middlewares,
        "service": service,
    }


def _path(snapshot: Snapshot, pattern: Pattern) -> str:
    return f"PathRegexp(`{expression(pattern, snapshot.strip_prefixes)}`)"


def _methods(route: Route) -> str:
    return " || ".join(f"Method(`{method}`)" for method in sorted(route.methods))


def _middlewares(front: Front) -> dict[str, Any]:
    snapshot = front.snapshot
    families = {"x-gateway-*", *(name.lower() for name in snapshot.removed_headers if name.endswith("*"))}
    exact = removed_names(snapshot, _KEPT, frozenset(families - {_FORWARDED}))
    beginnings = [_OTHER_FORWARDED if name == _FORWARDED else re.escape(name[:-1]) for name in sorted(families)]
    # Some backends read _ and . as -.
    removed = "|".join([".*[_.]", *beginnings, f"(?:{'|'.join(map(re.escape, exact))})$"])
    decision = {
        "address": f"http://{front.decisions.authority}{front.endpoint}/forward",
        # The client is who connected to Traefik.
        "trustForwardHeader": False,
        # What begins so is taken from the request, and comes from the decision alone.
        "authResponseHeadersRegex": f"(?i)^(?:{removed})",
        "authResponseHeaders": [*IDENTITY, "X-Request-Id"],
        "maxResponseBodySize": 65536,
    }
    ours = ("X-Request-Id", *RATE_LIMIT, *IDENTITY, *_INTERNAL)
    fields = {
        "customRequestHeaders": {**dict.fromkeys((*_INTERNAL, "X-Forwarded-Prefix"), ""), "Via": "1.1 gateway"},
        "customResponseHeaders": dict.fromkeys(ours, ""),
    }
    bodies = {route.body_max_bytes for route in snapshot.routes.routes if route.upstream is not None}
    return {
        "gateway-unbelieved": {"headers": {"customRequestHeaders": {"Forwarded": "", "X-Request-Id": ""}}},
        "gateway-decision": {"forwardAuth": decision},
        "gateway-fields": {"headers": fields},
        "gateway-without-key": {"headers": {"customRequestHeaders": {"Authorization": ""}}},
        **(
            {"gateway-prefix": {"stripPrefix": {"prefixes": list(snapshot.strip_prefixes)}}}
            if snapshot.strip_prefixes
            else {}
        ),
        **{f"gateway-body-{most}": {"buffering": {"maxRequestBodyBytes": most}} for most in sorted(bodies)},
    }


def _services(front: Front) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "gateway-itself", {"loadBalancer": {"servers": [{"url": f"http://{front.gateway.authority}"}]}}
    for upstream in front.snapshot.upstreams.values():
        yield upstream.name, {"loadBalancer": _balancer(upstream)}


def _balancer(upstream: UpstreamSettings) -> dict[str, Any]:
    servers = []
    for target in upstream.targets:
        where = place(upstream, target)
        if where.path is not None:
            message = f"upstream {upstream.name} has a target on a Unix socket, which Traefik cannot reach"
            raise NotRenderable(message)
        servers.append({"url": f"http://{where.authority}", "weight": target.weight})
    return {
        "servers": servers,
        "strategy": "p2c" if upstream.balance is Balance.LEAST_CONNECTIONS else "wrr",
        "passHostHeader": upstream.preserve_host,
        "responseForwarding": {"flushInterval": "-1ms"},
        "serversTransport": upstream.name,
    }


def _transport(snapshot: Snapshot, upstream: str) -> dict[str, Any]:
    timeouts = patience(snapshot, upstream)
    return {
        "maxIdleConnsPerHost": snapshot.upstreams[upstream].idle_connections_max or -1,
        "forwardingTimeouts": {
            "dialTimeout": milliseconds(timeouts.connect_s),
            "responseHeaderTimeout": milliseconds(timeouts.first_byte_s),
        },
    }
