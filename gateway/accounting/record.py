"""The record of one request: what is known of it so far, and in the end its usage event and its numbers."""

from __future__ import annotations

from random import getrandbits
from time import perf_counter
from typing import TYPE_CHECKING, ClassVar, Final

from msgspec import Struct

from gateway.core.events import UsageEvent, encode, uuid7
from gateway.telemetry.telemetry import NO_ROUTE

if TYPE_CHECKING:
    from gateway.accounting.moments import Moments
    from gateway.adapters.journal import Journal
    from gateway.core.bucket import Taken
    from gateway.core.facts import RequestFacts
    from gateway.core.keys import KeyRecord
    from gateway.core.routes import Route
    from gateway.core.snapshot import Snapshot
    from gateway.telemetry.telemetry import Telemetry

UNKNOWN_ENDPOINT: Final = "unknown"


class RequestRecord(Struct):
    """Collects while the request is served; `finish` is called once, before the last byte of the answer leaves.

    *entropy* are 32 random hexadecimal digits, of which all ids of the request are made. They need not be secret.
    *cors* are lines of the answer's head, whatever the answer is; *trailers* is whether the client understands those.
    """

    mode: ClassVar[str] = "proxy"

    method: str
    peer: str
    now: float
    snapshot: Snapshot
    entropy: str = ""
    request_id: str = ""
    facts: RequestFacts | None = None
    from_trusted: bool = False
    route: Route | None = None
    key: KeyRecord | None = None
    taken: Taken | None = None
    outcome: str = "admitted"
    recorded: bool = True
    cors: bytes = b""
    trailers: bool = False
    status: int | None = None
    target: str | None = None
    upstream_us: int | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    _began: float = 0.0
    _finished: bool = False

    def __post_init__(self) -> None:
        """Begin: the request's head has been read."""
        self._began = perf_counter()
        self.entropy = getrandbits(128).to_bytes(16, "big").hex()
        self.request_id = "req_" + self.entropy[:16]

    def finish(self, journal: Journal, telemetry: Telemetry, moments: Moments) -> None:
        """Write the usage event and count; once, however often it is called."""
        if self._finished:
            return
        self._finished = True
        duration_us = int((perf_counter() - self._began) * 1_000_000)
        route, facts = self.route, self.facts
        if route is None or facts is None:
            name, upstream, endpoint = NO_ROUTE, None, UNKNOWN_ENDPOINT
        else:
            name, upstream, endpoint = route.name, route.upstream, route.endpoint(facts.target)
        at, id_start = moments.stamp(self.now)
        key = self.key
        account_id, key_id = (None, None) if key is None else (key.account_id, key.id)
        event = UsageEvent(
            uuid7(id_start, self.entropy),
            at,
            self.request_id,
            account_id,
            key_id,
            name,
            endpoint,
            self.method,
            "" if facts is None else facts.target.path,
            self.peer if facts is None else facts.client_address,
            self.status,
            self.outcome,
            upstream,
            self.target,
            duration_us,
            self.upstream_us,
            self.bytes_in,
            self.bytes_out,
            self.snapshot.version,
            self.mode,
        )
        if self.recorded:
            journal.append(encode(event))
        telemetry.request(event)


class DecisionRecord(RequestRecord):
    """The record of a request that another proxy carries: of one that is admitted the end is not known."""

    mode: ClassVar[str] = "sidecar"

    def event_id(self, moments: Moments) -> str:
        """Give the id that the usage event will have, for the proxy to report the end with."""
        return uuid7(moments.stamp(self.now)[1], self.entropy)
