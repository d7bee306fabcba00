"""Which requests are served, and where they go: the routes in `gateway.yaml`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.core.bucket import Algorithm  # noqa: TC001  # pydantic reads the annotations
from gateway.settings.fields import (
    EventName,
    PathPattern,
    RouteName,
    ScopeName,
    Section,
    Switch,
    UpstreamName,
    Whole,
)
from gateway.settings.upstreams import RouteTimeouts  # noqa: TC001  # as above

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
BODY_MAX_BYTES = 1 << 40


class RouteLimit(Section):
    """A limit that a route has in addition to the hourly limit of the key."""

    requests: Whole = Field(ge=1, le=1_000_000_000)
    """How many requests are allowed in the period given by `per`."""
    per: Literal["second", "minute", "hour"]
    """The period: second, minute or hour."""
    by: Literal["key", "address"] = "key"
    """Whose requests are counted together: those of one key, or, on public routes, those of one client address."""


class RouteSettings(Section):
    """One kind of request: its methods and paths, what they need, and where they go."""

    name: RouteName
    """The name of the route in metrics, usage events and messages; no two routes share one."""
    methods: Annotated[tuple[Method, ...], Field(min_length=1)]
    """The methods that the route takes. GET includes HEAD."""
    path: PathPattern
    """The paths that the route takes: {name} is one segment, {name:token} one of 1-100 letters, digits, - and _, and a
    last /** is the path itself and everything below it. Without any of the strip_prefixes."""
    scope: ScopeName | None = None
    """The scope that a key needs, one of those under `scopes`. Exactly one of scope and public is given."""
    public: Switch = False
    """Whether requests need no key. Limit such routes by address."""
    upstream: UpstreamName | None = None
    """The upstream that requests go to, one of those under `upstreams`. Exactly one of upstream and answer is given."""
    timeouts: RouteTimeouts | None = None
    """What is different from the timeouts of the upstream on this route, in seconds."""
    answer: Literal["webhooks.test"] | None = None
    """The answer of the gateway's own that requests get: webhooks.test sends a test event to the key's webhook."""
    limits: tuple[RouteLimit, ...] = ()
    """Limits in addition to the hourly limit of the key. A request must pass all; a refused one uses up none."""
    algorithm: Algorithm | None = None
    """The algorithm of all limits on this route, also the key's hourly one. By default that of limits.algorithm."""
    body_max_bytes: Whole | None = Field(default=None, ge=0, le=BODY_MAX_BYTES)
    """Bytes that the body of a request may have; more is 413. By default requests.body_max_bytes."""
    emits: dict[Method, EventName] = Field(default_factory=dict)
    """Webhook events that successful requests announce, by method, e.g. {POST: budget.created}."""
