"""The record of one request: what is known of it so far, and in the end its usage event and its numbers."""

from __future__ import annotations

from random import getrandbits
from time import perf_counter
from typing import TYPE_CHECKING, ClassVar, Final

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


class RequestRecord:
    """Collects while the request is served; `finish` is called once, before the last byte of the answer leaves.

    *entropy* are 32 random hexadecimal digits, of which all ids of the request are made. They need not be secret.
    *cors* are lines of the answer's head, whatever the answer is; *trailers* is whether the client understands those.
    """

    mode: ClassVar = "proxy"

    __slots__ = (
        "_began",
        "_finished",
        "bytes_in",
        "bytes_out",
        "cors",
        "entropy",
        "facts",
        "from_trusted",
        "key",
        "method",
        "now",
        "outcome",
        "peer",
        "recorded",
        "request_id",
        "route",
        "snapshot",
        "status",
        "taken",
        "target",
        "trailers",
        "upstream_us",
    )

    def __init__(self, method: str, peer: str, now: float, snapshot: Snapshot) -> None:
        """Begin: the request's head has been read."""
        self._began = perf_counter()
        self._finished = False
        self.method = method
        self.peer = peer
        self.now = now
        self.snapshot = snapshot
        self.entropy = getrandbits(128).to_bytes(16, "big").hex()
        self.request_id = "req_" + self.entropy[:16]
        self.facts: RequestFacts | None = None
        self.from_trusted = False
        self.route: Route | None = None
        self.key: KeyRecord | None = None
        self.taken: Taken | None = None
        self.outcome = "admitted"
        self.recorded = True
        self.cors = b""
        self.trailers = False
        self.status: int | None = None
        self.target: str | None = None
        self.upstream_us: int | None = None
        self.bytes_in = 0
        self.bytes_out = 0

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

    mode = "sidecar"

    __slots__ = ()
