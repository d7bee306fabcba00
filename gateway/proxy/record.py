"""The record of one request: what is known of it so far, and in the end its usage event and its numbers."""

from __future__ import annotations

from random import getrandbits
from time import perf_counter
from typing import TYPE_CHECKING, Final

from gateway.core.events import UsageEvent, encode, uuid7
from gateway.telemetry import metrics
from gateway.telemetry.telemetry import NO_ROUTE

if TYPE_CHECKING:
    from gateway.adapters.journal import Journal
    from gateway.core.facts import RequestFacts
    from gateway.core.keys import KeyRecord
    from gateway.core.routes import Route
    from gateway.core.snapshot import Snapshot
    from gateway.proxy.moments import Moments
    from gateway.telemetry.telemetry import Telemetry

UNKNOWN_ENDPOINT: Final = "unknown"


class RequestRecord:
    """Collects while the request is served; `finish` is called once, before the last byte of the answer leaves."""

    __slots__ = (
        "_began",
        "_finished",
        "_upstream_began",
        "bytes_in",
        "bytes_out",
        "facts",
        "key",
        "method",
        "now",
        "outcome",
        "peer",
        "request_id",
        "route",
        "snapshot",
        "status",
        "target",
        "upstream_us",
    )

    def __init__(self, method: str, peer: str, now: float, snapshot: Snapshot) -> None:
        """Begin: the request's head has been read. Request ids need not be secret, only distinct."""
        self._began = perf_counter()
        self._finished = False
        self._upstream_began = 0.0
        self.method = method
        self.peer = peer
        self.now = now
        self.snapshot = snapshot
        self.request_id = f"req_{getrandbits(64):016x}"
        self.facts: RequestFacts | None = None
        self.route: Route | None = None
        self.key: KeyRecord | None = None
        self.outcome = "admitted"
        self.status: int | None = None
        self.target: str | None = None
        self.upstream_us: int | None = None
        self.bytes_in = 0
        self.bytes_out = 0

    def upstream_asked(self) -> None:
        """Note that the request goes to the upstream now."""
        self._upstream_began = perf_counter()

    def upstream_answered(self) -> None:
        """Note that the head of the upstream's answer is here."""
        self.upstream_us = int((perf_counter() - self._upstream_began) * 1_000_000)

    def finish(self, journal: Journal, telemetry: Telemetry, moments: Moments) -> None:
        """Write the usage event and count; once, however often it is called."""
        if self._finished:
            return
        self._finished = True
        duration_us = int((perf_counter() - self._began) * 1_000_000)
        route, facts, key = self.route, self.facts, self.key
        name = NO_ROUTE if route is None else route.name
        journal.append(
            encode(
                UsageEvent(
                    id=uuid7(int(self.now * 1000), getrandbits(74)),
                    at=moments.stamp(self.now),
                    request_id=self.request_id,
                    route=name,
                    endpoint=UNKNOWN_ENDPOINT if route is None or facts is None else route.endpoint(facts.target),
                    method=self.method,
                    path="" if facts is None else facts.target.path,
                    client_address=self.peer if facts is None else facts.client_address,
                    outcome=self.outcome,
                    config_version=self.snapshot.version,
                    status=self.status,
                    account_id=None if key is None else key.account_id,
                    key_id=None if key is None else key.id,
                    upstream=None if route is None or self.target is None else route.upstream,
                    target=self.target,
                    duration_us=duration_us,
                    upstream_us=self.upstream_us,
                    bytes_in=self.bytes_in,
                    bytes_out=self.bytes_out,
                )
            )
        )
        telemetry.request(name, self.method, self.status or 499, self.outcome)
        if self.upstream_us is not None and route is not None and route.upstream is not None:
            telemetry.observe(metrics.OVERHEAD, name, max(duration_us - self.upstream_us, 0) / 1_000_000)
            telemetry.observe(metrics.UPSTREAM_SECONDS, route.upstream, self.upstream_us / 1_000_000)
        if self.bytes_in:
            telemetry.add(metrics.REQUEST_BYTES, self.bytes_in, name)
        if self.bytes_out:
            telemetry.add(metrics.RESPONSE_BYTES, self.bytes_out, name)
