"""Compiles a checked `Config` into the `Snapshot` that requests see."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.core.bucket import Algorithm, Limit, LimitBy
from gateway.core.cors import Cors
from gateway.core.network import AddressSet
from gateway.core.routes import Pattern, Route, RouteTable
from gateway.core.snapshot import ConnectionLimits, KeyFormat, RequestLimits, Snapshot
from gateway.core.upstreams import UNBOUNDED, Timeouts
from gateway.settings.compile_upstream import compile_timeouts, compile_upstream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.settings.schema import Config
    from gateway.settings.traffic import Cors as CorsSettings
    from gateway.settings.traffic import RouteSettings
    from gateway.settings.upstreams import Upstream

BUILT_IN_BODY_MAX_BYTES: Final = 65_536
WINDOW_MS: Final = {"second": 1_000, "minute": 60_000, "hour": 3_600_000}

_VERSION_CHARACTERS: Final = 12


def with_head(methods: Iterable[str]) -> frozenset[str]:
    """Add HEAD where there is GET (contract section 1)."""
    wanted = frozenset(methods)
    return wanted | {"HEAD"} if "GET" in wanted else wanted


def _built_in(name: str, method: str, path: str, answer: str) -> Route:
    return Route(
        name=name,
        pattern=Pattern.parse(path),
        methods=with_head({method}),
        public=True,
        answer=answer,
        body_max_bytes=BUILT_IN_BODY_MAX_BYTES,
    )


BUILT_IN_ROUTES: Final = (
    _built_in("auth.login", "POST", "/auth/login", "login"),
    _built_in("auth.jwks", "GET", "/.well-known/jwks.json", "jwks"),
    _built_in("keys.create", "POST", "/api-keys", "keys.create"),
    _built_in("keys.list", "GET", "/api-keys", "keys.list"),
    _built_in("keys.get", "GET", "/api-keys/{id}", "keys.get"),
    _built_in("keys.update", "PUT", "/api-keys/{id}", "keys.update"),
    _built_in("keys.delete", "DELETE", "/api-keys/{id}", "keys.delete"),
    _built_in("keys.rotate", "POST", "/api-keys/{id}/rotate", "keys.rotate"),
    _built_in("keys.webhook_secret", "POST", "/api-keys/{id}/webhook-secret/rotate", "keys.rotate_webhook_secret"),
    _built_in("keys.audit", "GET", "/api-keys/{id}/audit", "keys.audit"),
    _built_in("keys.deliveries", "GET", "/api-keys/{id}/deliveries", "keys.deliveries"),
    _built_in("keys.redeliver", "POST", "/api-keys/{id}/deliveries/{deliveryId}/redeliver", "keys.redeliver"),
    _built_in("keys.stats", "GET", "/api-keys/{id}/stats", "keys.stats"),
    _built_in("usage.get", "GET", "/usage", "usage"),
    _built_in("usage.csv", "GET", "/usage.csv", "usage.csv"),
    _built_in("openapi", "GET", "/openapi.json", "openapi"),
    _built_in("docs", "GET", "/docs", "docs"),
)
"""Routes in front of the configured ones; they check who asks themselves."""

LOGIN_ROUTES: Final = frozenset({"auth.login"})
"""Those among them that are not there without the built-in login."""

SIGNED_ROUTES: Final = frozenset({"auth.jwks"})
"""Those among them that are not there where nothing is signed: no login, and no identity for an upstream."""

DOCUMENT_ROUTES: Final = frozenset({"openapi", "docs"})
"""Those among them that are not there with `management.docs: false`."""


def compile_snapshot(config: Config) -> Snapshot:
    """Compile *config*; total, because loading has refused what cannot be compiled."""
    failed = config.limits.failed_authentications
    built_in = [
        replace(route, cors=_cors(config.cors, route.methods))
        for route in built_in_routes(
            login=config.auth.login,
            identity=any(upstream.signed_identity for upstream in config.upstreams.values()),
            docs=config.management.docs,
        )
    ]
    return Snapshot(
        version=version_of(config),
        routes=RouteTable((*built_in, *(_route(route, config) for route in config.routes))),
        scopes=dict(config.scopes),
        upstreams={name: compile_upstream(name, upstream) for name, upstream in config.upstreams.items()},
        trusted_proxies=AddressSet(config.trusted_proxies),
        strip_prefixes=config.strip_prefixes,
        key_format=KeyFormat(
            prefixes=config.keys.prefixes, legacy=config.keys.legacy, in_api_key=config.keys.x_api_key
        ),
        request_limits=RequestLimits(
            target_max_bytes=config.requests.target_max_bytes,
            field_max_bytes=config.requests.field_max_bytes,
            head_max_bytes=config.requests.head_max_bytes,
            fields_max=config.requests.fields_max,
            body_idle_s=config.requests.body_idle_s,
            in_flight_max=config.requests.in_flight_max,
        ),
        connection_limits=ConnectionLimits(**config.connections.model_dump()),
        algorithm=config.limits.algorithm,
        on_limiter_error=config.limits.on_error,
        failed_authentications=Limit(
            name="failed",
            capacity=failed.capacity,
            window_ms=round(failed.capacity * 1000 / failed.refill_per_s),
            algorithm=Algorithm.TOKEN_BUCKET,
            by=LimitBy.ADDRESS,
            announced=config.limits.ratelimit_fields,
        ),
        # Where X-API-Key may carry a key, it is removed whatever the list says.
        removed_headers=(*config.headers.removed, *(("X-API-Key",) if config.keys.x_api_key else ())),
        limits_announced=config.limits.ratelimit_fields,
        socket_trusted=config.sidecar.socket_trusted,
        cors=_cors(config.cors, {method for route in config.routes for method in with_head(route.methods)}),
    )


def built_in_routes(*, login: bool, identity: bool, docs: bool) -> tuple[Route, ...]:
    """Give the built-in routes that there are, by whether there is a *login*, signed *identity* and the *docs*."""
    wanted = ((login, LOGIN_ROUTES), (login or identity, SIGNED_ROUTES), (docs, DOCUMENT_ROUTES))
    absent = {name for is_wanted, names in wanted if not is_wanted for name in names}
    return tuple(route for route in BUILT_IN_ROUTES if route.name not in absent)


def version_of(config: Config) -> str:
    """Give a short digest of what *config* says; secrets are left out, so that it can be shown."""
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:_VERSION_CHARACTERS]


def _route(route: RouteSettings, config: Config) -> Route:
    algorithm = route.algorithm or config.limits.algorithm
    body_max_bytes = config.requests.body_max_bytes if route.body_max_bytes is None else route.body_max_bytes
    return Route(
        name=route.name,
        pattern=Pattern.parse(route.path),
        methods=with_head(route.methods),
        scope=route.scope,
        public=route.public,
        upstream=route.upstream,
        answer=route.answer,
        limits=tuple(
            Limit(
                name=f"{route.name}:{number}",
                capacity=limit.requests,
                window_ms=WINDOW_MS[limit.per],
                algorithm=algorithm,
                by=LimitBy(limit.by),
                announced=config.limits.ratelimit_fields,
            )
            for number, limit in enumerate(route.limits, start=1)
        ),
        algorithm=route.algorithm,
        body_max_bytes=body_max_bytes,
        allow_in_path=frozenset(route.allow_in_path),
        emits={str(method): event for method, event in route.emits.items()},
        timeouts=Timeouts() if route.upstream is None else _timeouts(route, config.upstreams[route.upstream]),
        audience=route.upstream
        if route.upstream is not None and config.upstreams[route.upstream].signed_identity
        else None,
        websocket_idle_s=route.websocket_idle_s if route.websocket else None,
        stream=route.stream,
        cors=_cors(route.cors or config.cors, with_head(route.methods)),
    )


def _cors(cors: CorsSettings | None, methods: Iterable[str]) -> Cors | None:
    if cors is None or not cors.origins:
        return None
    return Cors(
        origins=frozenset(cors.origins),
        methods=cors.methods or tuple(sorted(methods)),
        headers=cors.headers,
        exposed=cors.exposed,
        max_age_s=cors.max_age_s,
        credentials=cors.credentials,
    )


def _timeouts(route: RouteSettings, upstream: Upstream) -> Timeouts:
    timeouts = compile_timeouts(upstream.timeouts, route.timeouts)
    bounded = route.timeouts is not None and "total_s" in route.timeouts.model_fields_set
    return replace(timeouts, total_s=UNBOUNDED) if route.stream and not bounded else timeouts
