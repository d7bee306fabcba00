"""Upstreams as the configuration describes them: their targets, how to reach these, and what to do when they fail."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

UNBOUNDED: Final = float("inf")


class Balance(StrEnum):
    """How the address for a request is chosen."""

    ROUND_ROBIN = "round_robin"
    LEAST_CONNECTIONS = "least_connections"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds an upstream may take: to connect, to begin its answer, between two reads, and in all (or UNBOUNDED)."""

    connect_s: float = 1.0
    first_byte_s: float = 10.0
    idle_s: float = 30.0
    total_s: float = 60.0


@dataclass(frozen=True, slots=True)
class UpstreamTarget:
    """One place of an upstream; *authority* is what its Host header says, *name* how usage events and metrics call it.

    A name as *host* may stand for many addresses. With *path* it is a Unix socket, and *host* and *port* mean nothing.
    """

    host: str
    port: int
    authority: str
    tls: bool = False
    path: str | None = None
    weight: int = 1
    name: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Make the name once."""
        object.__setattr__(self, "name", f"{self.host}:{self.port}" if self.path is None else f"unix:{self.path}")

    @property
    def place(self) -> tuple[str, bool]:
        """What makes it the same one when settings have changed."""
        return self.name, self.tls


@dataclass(frozen=True, slots=True)
class Tls:
    """How to know a target that speaks TLS, and how to be known by it: files in PEM, by path."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    server_name: str | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True)
class Retries:
    """The retry budget: a share of the requests of the last seconds, and so many a second whatever comes."""

    ratio: float = 0.2
    floor_per_s: float = 3.0


@dataclass(frozen=True, slots=True)
class Ejection:
    """When an address is passed over, and for how long; *server_errors* says whether a 5xx is a failure.

    With *circuit_breaker* requests are refused while all addresses are failing, otherwise they go on being tried.
    """

    consecutive_failures: int = 5
    server_errors: bool = False
    first_s: float = 5.0
    longest_s: float = 60.0
    max_percent: int = 50
    circuit_breaker: bool = False


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How to ask an address whether it is well, and how often it must say so to be believed."""

    path: str
    interval_s: float = 10.0
    timeout_s: float = 2.0
    healthy_after: int = 2
    unhealthy_after: int = 3
    expected_status: frozenset[int] = frozenset({200})


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """An upstream by name, its targets, and how to talk to them. What is equal may be kept when settings change."""

    name: str
    targets: tuple[UpstreamTarget, ...]
    timeouts: Timeouts = Timeouts()
    preserve_host: bool = False
    idle_connections_max: int = 128
    balance: Balance = Balance.ROUND_ROBIN
    resolve_s: float = 30.0
    tls: Tls = Tls()
    retries: Retries = Retries()
    ejection: Ejection = Ejection()
    probe_s: float = 0.5
    health: HealthCheck | None = None
    concurrent_max: float = 1024
    queue_max: int = 128
    queue_s: float = 0.5
    required: bool = False
