"""Snapshot: one immutable, compiled configuration, as every request of its time sees it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.core.headers import Removed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.bucket import Algorithm, Limit
    from gateway.core.cors import Cors
    from gateway.core.network import AddressSet
    from gateway.core.routes import RouteTable
    from gateway.core.upstreams import UpstreamSettings


@dataclass(frozen=True, slots=True)
class KeyFormat:
    """Which credentials are ours: their prefixes, and whether keys without our checksum are looked up.

    *in_api_key* is whether a key may also come in the field X-API-Key.
    """

    prefixes: tuple[str, ...] = ("bk_live_", "bk_test_")
    legacy: bool = False
    in_api_key: bool = False
    pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the form that a key has, but for its checksum (contract section 3)."""
        prefixes = "|".join(re.escape(prefix) for prefix in self.prefixes)
        object.__setattr__(self, "pattern", re.compile(f"(?:{prefixes})[A-Za-z0-9_]{{16,64}}"))


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Bounds on one request (bytes, counts, seconds)."""

    target_max_bytes: int = 8192
    field_max_bytes: int = 8192
    head_max_bytes: int = 32768
    fields_max: int = 100
    body_idle_s: float = 30.0
    in_flight_max: int = 4096


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds on client connections of one worker (seconds, counts); 0 for *requests_max* is no limit."""

    head_s: float = 10.0
    handshake_s: float = 10.0
    idle_s: float = 75.0
    unread_s: float = 30.0
    requests_max: int = 0
    per_address_max: int = 1024


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a request needs to know of the configuration. *version* is a short digest of the file.

    *limits_announced* is whether answers have the `RateLimit` fields too, *socket_trusted* whether who asks for
    decisions on the Unix socket is a trusted proxy; *cors* holds for requests without a route.
    """

    version: str
    routes: RouteTable
    scopes: Mapping[str, str]
    upstreams: Mapping[str, UpstreamSettings]
    trusted_proxies: AddressSet
    strip_prefixes: tuple[str, ...]
    key_format: KeyFormat
    request_limits: RequestLimits
    algorithm: Algorithm
    on_limiter_error: str
    failed_authentications: Limit
    removed_headers: tuple[str, ...]
    limits_announced: bool = False
    socket_trusted: bool = False
    connection_limits: ConnectionLimits = ConnectionLimits()
    cors: Cors | None = None
    hostname: str = "gateway"
    removed: Removed = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile what is removed from requests."""
        object.__setattr__(self, "removed", Removed.compile(self.removed_headers, announced=self.limits_announced))
