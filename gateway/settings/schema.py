"""The shape of `gateway.yaml`: every setting with its type, bounds, default and meaning.

The text below a setting is its documentation; the JSON Schema for editors and the messages of `gateway check` use it.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gateway.core.bucket import Algorithm
from gateway.settings.auth import Auth
from gateway.settings.changes import Needs
from gateway.settings.clients import Connections, Requests
from gateway.settings.fields import (
    BindAddress,
    HeaderName,
    KeyPrefix,
    Network,
    Number,
    PathPrefix,
    ScopeName,
    Section,
    Switch,
    SyslogPlace,
    UpstreamName,
    Whole,
)
from gateway.settings.listeners import Listen
from gateway.settings.stores import Postgres, Redis, Secrets, Usage
from gateway.settings.traffic import Cors, RouteSettings  # noqa: TC001  # pydantic reads the annotations
from gateway.settings.upstreams import Upstream  # noqa: TC001  # as above
from gateway.settings.webhooks import Webhooks

REMOVED_HEADERS = (
    "X-Consumer-*",
    "X-Credential-*",
    "X-Authenticated-*",
    "X-Anonymous-Consumer",
    "X-Api-Key*",
    "X-Forwarded-*",
    "Forwarded",
    "X-Remote-User",
    "X-Real-User",
    "X-User-Id",
    "X-Account-Id",
    "X-Real-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Client-IP",
)
"""By what gateways and identity proxies say who somebody is (contract section 6)."""


class Keys(Section):
    """API keys: how they look, and how long what is known of them may be used."""

    prefixes: Annotated[tuple[KeyPrefix, ...], Field(min_length=1)] = ("bk_live_", "bk_test_")
    """What keys begin with; the first is the one for new keys."""
    legacy: Switch = False
    """Whether keys that were not issued here, without our checksum, work and can be imported."""
    x_api_key: Switch = False
    """Whether a key may also come as X-API-Key: bk_live_..., for clients that cannot send Authorization: Bearer. A key
    in both is 400; with the key there, an Authorization that is not ours goes to the upstream."""
    cache_ttl_s: Annotated[Number, Needs.RESTART] = Field(default=25.0, gt=0, le=3600)
    """Seconds until a known key is read from Postgres again. Changes are announced and usually known much sooner. A
    change of the setting needs a restart."""
    max_stale_s: Annotated[Number, Needs.RESTART] = Field(default=900.0, ge=0, le=86400)
    """Seconds that a known key goes on working while Postgres is away. A change needs a restart."""
    absent_ttl_s: Annotated[Number, Needs.RESTART] = Field(default=5.0, gt=0, le=5)
    """Seconds that an unknown key is remembered as unknown, at most 5. A change needs a restart."""
    cache_entries_max: Annotated[Whole, Needs.RESTART] = Field(default=100_000, ge=100, le=10_000_000)
    """Keys that each worker remembers, about 1 KiB each. A change needs a restart."""


class FailedAuthentications(Section):
    """How many malformed or unknown keys a client address may send before it gets 429."""

    capacity: Whole = Field(default=2000, ge=1, le=1_000_000)
    """Failures that a rested address may make at once."""
    refill_per_s: Whole = Field(default=20, ge=1, le=1_000_000)
    """Failures that are forgiven every second."""

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        if self.capacity * 10 < self.refill_per_s:
            message = (
                f"limits.failed_authentications refills {self.refill_per_s} a second into a capacity of {self.capacity}"
                f"; expected a capacity of at least a tenth of refill_per_s"
            )
            raise ValueError(message)
        return self


class Limits(Section):
    """Rate limits in general; the limit of a key stands in its record, further ones at the routes."""

    algorithm: Algorithm = Algorithm.TOKEN_BUCKET
    """token_bucket refills all the time, so a rested key may make up to twice its limit in its first hour;
    sliding_window never admits more than the limit in any hour."""
    on_error: Literal["local", "open", "closed"] = "local"
    """While Redis is away: local limits each worker by itself, open does not limit, closed refuses with 503."""
    ratelimit_fields: Switch = False
    """Whether answers also have RateLimit and RateLimit-Policy, the fields of the IETF's draft: of all limits of a
    request, where X-RateLimit-* tell of the tightest. A route's limits are called by its name and their number."""
    failed_authentications: FailedAuthentications = FailedAuthentications()
    """The limit per client address on malformed and unknown keys."""


class Management(Section):
    """What the gateway answers itself."""

    docs: Switch = True
    """Whether the API of the gateway itself is described at /openapi.json, and at /docs as a page for people. Both are
    the same for everyone and name the configured scopes."""


class GrpcListener(Section):
    """Where Envoy asks by its own protocol, in plain text. Needs the extra: pip install 'gateway[grpc]'."""

    address: BindAddress = "127.0.0.1"
    """The address of this machine to listen on."""
    port: Whole = Field(ge=1, le=65535)
    """The TCP port to listen on."""

    @model_validator(mode="after")
    def _installed(self) -> Self:
        if find_spec("grpc") is None or find_spec("google.protobuf") is None:
            message = "sidecar.grpc needs packages that are not installed; expected pip install 'gateway[grpc]'"
            raise ValueError(message)
        return self


class Sidecar(Section):
    """Decisions for other proxies, which carry the requests themselves."""

    path: PathPrefix = "/_gateway/authz"
    """Where on the internal listener proxies ask: nginx at /nginx below it, Caddy and Traefik at /forward, Envoy with
    the prefix /envoy."""
    socket: Path | None = None
    """A Unix socket where they may ask too. By default there is none."""
    socket_trusted: Switch = False
    """Whether what callers on the socket say of client addresses is believed, as if they were in trusted_proxies. On,
    only the proxy may reach the socket."""
    grpc: GrpcListener | None = None
    """Where Envoy may ask over gRPC (ext_authz v3). Who asks there is believed on client addresses if it is in
    trusted_proxies. By default nothing listens."""
    report_path: PathPrefix = "/_gateway/report"
    """Where on the internal listener, and on the socket, proxies may report how requests ended: POST of lines of
    JSON."""
    syslog: SyslogPlace | None = None
    """Where proxies may report over syslog: an address with a port for UDP, e.g. 127.0.0.1:5514, or unix:/path. Whoever
    can send there can report. By default there is none; set, the nginx.conf that is rendered reports there."""

    @model_validator(mode="after")
    def _two_paths(self) -> Self:
        if (self.report_path + "/").startswith(self.path + "/"):
            message = "sidecar.report_path lies at or below sidecar.path; expected a path of its own"
            raise ValueError(message)
        return self


class Drain(Section):
    """The end of a worker."""

    grace_s: Number = Field(default=0.0, ge=0, le=600)
    """Seconds between /readyz turning false and the listeners closing, for load balancers to notice."""
    timeout_s: Number = Field(default=10.0, ge=0, le=600)
    """Seconds that requests in flight may take to finish; after that their connections are cut."""


class Workers(Section):
    """The processes that serve."""

    count: Whole = Field(default=1, ge=1, le=256)
    """How many there are; one for each core that the gateway may use."""


class Log(Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important messages that are written."""
    format: Literal["json", "console"] = "json"
    """json for machines, one object a line; console for people."""


class Headers(Section):
    """Header fields of requests."""

    removed: tuple[HeaderName, ...] = REMOVED_HEADERS
    """Fields that clients may not send to upstreams, besides those that are never passed on; a last * stands for any
    ending. By default all by which gateways and identity proxies say who somebody is."""


class Config(Section):
    """Everything that `gateway.yaml` says."""

    version: Literal[1]
    """The version of this format, 1."""
    state_directory: Annotated[Path, Needs.START] = Path(".gateway")
    """The directory for what a worker keeps on disk. It must survive restarts. By default .gateway. A change needs a
    stop and a start."""
    listen: Listen = Listen()
    """Where the gateway listens."""
    postgres: Annotated[Postgres, Needs.RESTART]
    """The database with accounts, keys and usage. A change needs a restart."""
    redis: Annotated[Redis, Needs.RESTART] = Redis()
    """The store of the rate limits. A change needs a restart."""
    trusted_proxies: tuple[Network, ...] = ()
    """Addresses and CIDRs of proxies whose X-Forwarded-For and Forwarded are believed. By default nobody's. Where a
    request has both and they name different clients, it is 400: let proxies remove the one that they do not write."""
    strip_prefixes: tuple[PathPrefix, ...] = ("/v1",)
    """Prefixes that a path may have; the first that fits is taken off before routing and forwarding."""
    keys: Keys = Keys()
    """API keys: how they look, and how long what is known of them may be used."""
    limits: Limits = Limits()
    """Rate limits in general."""
    connections: Connections = Connections()
    """Bounds on client connections."""
    requests: Requests = Requests()
    """Bounds on a request."""
    usage: Annotated[Usage, Needs.RESTART] = Usage()
    """Usage events: one for each request. A change needs a restart."""
    secrets: Annotated[Secrets, Needs.RESTART]
    """What protects secrets at rest. A change needs a restart."""
    auth: Annotated[Auth, Needs.RESTART] = Auth()
    """Who may manage keys: the built-in login, an outside identity provider. A change needs a restart."""
    management: Management = Management()
    """What the gateway answers itself."""
    sidecar: Annotated[Sidecar, Needs.START] = Sidecar()
    """Decisions for other proxies. A change needs a stop and a start."""
    webhooks: Annotated[Webhooks, Needs.RESTART] = Webhooks()
    """Calls to the webhooks of keys. A change needs a restart."""
    drain: Drain = Drain()
    """The end of a worker."""
    workers: Annotated[Workers, Needs.START] = Workers()
    """The processes that serve. A change needs a stop and a start."""
    log: Annotated[Log, Needs.RESTART] = Log()
    """The log. A change needs a restart."""
    headers: Headers = Headers()
    """Header fields of requests."""
    cors: Cors | None = None
    """Which pages of other origins may use all routes from a browser, also login and key management, where a route says
    nothing else. By default none."""
    scopes: dict[ScopeName, str]
    """What keys can be allowed to do: the name of each scope, and a sentence about it for people."""
    upstreams: dict[UpstreamName, Upstream]
    """The services behind the gateway, by name."""
    routes: tuple[RouteSettings, ...]
    """Which requests are served; the first route that fits is taken, and what none fits is 404."""

    @property
    def journal_directory(self) -> Path:
        """Where the usage journal is."""
        return self.usage.journal.directory or self.state_directory / "journal"
