"""Which requests are served, and where they go: the routes in `gateway.yaml`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gateway.core.bucket import Algorithm  # noqa: TC001  # pydantic reads the annotations
from gateway.core.oddities import Oddity  # noqa: TC001  # as above
from gateway.settings.fields import (
    EventName,
    FieldName,
    Number,
    Origin,
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


class Cors(Section):
    """Which pages of other origins may use a route from a browser (CORS). The upstream's own fields are replaced."""

    origins: tuple[Origin, ...]
    """Origins that are allowed, compared exactly, e.g. https://app.example.com; "*" alone is any. With none the route
    has no CORS, and the upstream's own fields pass."""
    methods: tuple[Method, ...] = ()
    """Methods that pages may use. By default those of the route."""
    headers: tuple[FieldName, ...] = ("Authorization", "Content-Type", "Idempotency-Key")
    """Request header fields that pages may set."""
    exposed: tuple[FieldName, ...] = (
        *("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-RateLimit-Window"),
        *("X-Request-Id", "Retry-After"),
    )
    """Answer header fields that pages may read, besides the few that they always may."""
    max_age_s: Whole = Field(default=600, ge=0, le=86400)
    """Seconds for which a browser need not ask again."""
    credentials: Switch = False
    """Whether browsers send cookies along. API keys need no cookies."""

    @model_validator(mode="after")
    def _any_means_any(self) -> Self:
        if "*" in self.origins and (self.credentials or len(self.origins) > 1):
            message = 'cors.origins has "*", which excludes credentials and other origins; expected a list of origins'
            raise ValueError(message)
        return self


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
    allow_in_path: tuple[Oddity, ...] = ()
    """What paths of this route may contain that is refused elsewhere, because servers read it differently:
    encoded_slash (%2F), double_slash, dot_segments, backslash, semicolon, encoded_percent (%25), encoded_delimiter
    (%3F, %23), control_character (%00) and invalid_utf8. Such a path is forwarded as it is, provided that every way to
    read it leads to this route."""
    emits: dict[Method, EventName] = Field(default_factory=dict)
    """Webhook events that successful requests announce, by method, e.g. {POST: budget.created}."""
    websocket: Switch = False
    """Whether GET may open a WebSocket. The handshake is checked like any request; the WebSocket ends when the key may
    no longer use the route. Off, a handshake is refused with 501."""
    websocket_idle_s: Number = Field(default=300.0, gt=0, le=86400)
    """Seconds without a byte in either direction after which a WebSocket is ended."""
    stream: Switch = False
    """Whether answers may go on without end, such as server-sent events, and bodies as long as they need: total_s does
    not hold, idle_s does, and an answer is cut off when the key may no longer use the route."""
    cors: Cors | None = None
    """Which pages of other origins may use the route from a browser. By default as `cors` says for all routes."""
