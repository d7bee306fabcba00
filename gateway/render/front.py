"""What every configuration is made of: the settings, and what of them any proxy has to be told in its own language."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.core.answers import error_envelope
from gateway.core.families import MEMBERS
from gateway.core.headers import ALWAYS_REMOVED, HOP_BY_HOP
from gateway.core.routes import ANY, TOKEN
from gateway.core.upstreams import Timeouts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.core.denials import Refusal
    from gateway.core.routes import Pattern
    from gateway.core.snapshot import Snapshot
    from gateway.core.upstreams import UpstreamSettings, UpstreamTarget

IDENTITY: Final = ("X-Gateway-Key-Id", "X-Gateway-Account-Id", "X-Gateway-Scopes", "X-Gateway-Identity")
"""What an upstream is told of who asks."""
RATE_LIMIT: Final = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-RateLimit-Window")
ANNOUNCED: Final = ("RateLimit-Policy", "RateLimit")
DECISION_CONNECT_S: Final = 1.0
DECISION_ANSWER_S: Final = 5.0
"""How long a decision may take; what takes longer is refused."""
_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})


class NotRenderable(ValueError):
    """Something that a proxy cannot be told; the message says what."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something listens: *host* and *port*, or a Unix socket at *path*."""

    host: str = ""
    port: int = 0
    path: str | None = None

    @property
    def authority(self) -> str:
        """Host and port as URLs have them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Front:
    """A proxy that listens on *listen*, in its own words.

    *decisions* is where the sidecar answers below the path *endpoint*, *gateway* the public listener, which answers
    login and key management itself. *reports* is where reports are taken over syslog, as `host:port` or `unix:/path`.
    *grpc* is where Envoy's own protocol is answered.
    """

    snapshot: Snapshot
    listen: str
    decisions: Place
    gateway: Place
    endpoint: str
    reports: str | None = None
    grpc: Place | None = None


def not_carried(snapshot: Snapshot, *kinds: str) -> Iterator[str]:
    """Say what routes have and the proxy does not do for them: of *kinds*, which are `CORS` and `WebSocket`."""
    routes = [route for route in snapshot.routes.routes if route.upstream is not None]
    having = {
        "CORS": [route.name for route in routes if route.cors is not None],
        "WebSocket": [route.name for route in routes if route.websocket_idle_s is not None],
    }
    for kind in kinds:
        if having[kind]:
            yield f"NOT CARRIED: {kind}, which these routes have: {', '.join(having[kind])}."


def place(upstream: UpstreamSettings, target: UpstreamTarget) -> Place:
    """Give where *target* is; raises NotRenderable where it speaks TLS."""
    if target.tls:
        message = f"upstream {upstream.name} has a target that speaks TLS, which cannot be rendered yet"
        raise NotRenderable(message)
    return Place(target.host, target.port, target.path)


def authority(upstream: UpstreamSettings) -> str:
    """Give what *upstream* sees as Host unless it is the client's."""
    return upstream.targets[0].authority


def own_patterns(snapshot: Snapshot) -> list[Pattern]:
    """Give the paths of what the gateway answers itself."""
    own = (route.pattern for route in snapshot.routes.routes if route.upstream is None)
    return list({pattern.text: pattern for pattern in own}.values())


def largest_body(snapshot: Snapshot) -> int:
    """Give the longest body that any forwarded route takes, in bytes."""
    return max((route.body_max_bytes for route in snapshot.routes.routes if route.upstream), default=0)


def patience(snapshot: Snapshot, upstream: str | None = None) -> Timeouts:
    """Give the longest timeouts of the routes, of those to *upstream* if it is given."""
    known = [
        route.timeouts for route in snapshot.routes.routes if route.upstream and upstream in (None, route.upstream)
    ]
    known = known or [Timeouts()]
    return Timeouts(
        max(one.connect_s for one in known),
        max(one.first_byte_s for one in known),
        max(one.idle_s for one in known),
        max(one.total_s for one in known),
    )


def removed_names(snapshot: Snapshot, kept: frozenset[str], families: frozenset[str] = frozenset()) -> list[str]:
    """Give the fields, in lower case, that a request loses on its way, but for those *kept*, which are written anew.

    Families of names are spelt out, but for *families*, written with a last `*`, which the proxy removes itself. Of
    the others the gateway refuses what is not spelt out.
    """
    configured = (name for name in snapshot.removed_headers if not name.endswith("*"))
    names = {name.lower() for name in (*HOP_BY_HOP, *ALWAYS_REMOVED, *MEMBERS, *configured)}
    beginnings = tuple(family[:-1] for family in families)
    return sorted(name for name in names - kept - _FRAMING - {"traceparent"} if not name.startswith(beginnings))


def expression(route: Pattern, prefixes: tuple[str, ...]) -> str:
    """Give a regular expression of the paths that *route* takes, with and without one of *prefixes*."""
    parts = {ANY: "[^/]+", TOKEN: "[A-Za-z0-9_-]+"}
    path = "".join("/" + (parts.get(segment) or re.escape(segment)) for segment in route.segments)
    start = f"(?:{'|'.join(re.escape(prefix) for prefix in prefixes)})?" if prefixes else ""
    return f"^{start}{path}{'(?:/.*)?' if route.tail else ''}$"


def error_body(refusal: Refusal, request_id: str, time: str) -> str:
    """Give the body of a refusal, where *request_id* and *time* are the proxy's words for what differs each time."""
    return json.dumps(error_envelope(refusal, request_id, time), separators=(",", ":"))
