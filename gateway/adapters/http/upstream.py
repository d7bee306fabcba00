"""Upstreams: asks one of the addresses of an upstream, by the one retry rule, and keeps all deadlines.

The retry rule: while not a byte was sent, any request may go to another address, on a fresh connection, once. Bytes
sent on a reused connection that ended without a byte of answer: GET, HEAD and OPTIONS without a body, once (it had gone
stale). All else is a fault, because the upstream may have acted. All of it within the retry budget.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from gateway.adapters.http.admission import Admission
from gateway.adapters.http.answer import UpstreamAnswer
from gateway.adapters.http.certificates import make_context
from gateway.adapters.http.dial import Dialler
from gateway.adapters.http.endpoints import Endpoints
from gateway.adapters.http.exchange import Exchange
from gateway.adapters.http.faults import (
    UpstreamAway,
    UpstreamClosed,
    UpstreamFault,
    UpstreamTooSlow,
    UpstreamUnreachable,
    UpstreamUntrusted,
)
from gateway.adapters.http.names import system_addresses
from gateway.adapters.http.streaming import stream
from gateway.adapters.http.upkeep import Upkeep
from gateway.core.retries import RetryBudget
from gateway.telemetry import metrics

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterator

    from gateway.adapters.http.connection import UpstreamConnection
    from gateway.adapters.http.endpoint import Endpoint
    from gateway.adapters.http.names import Resolve
    from gateway.adapters.http.upkeep import Counts
    from gateway.core.upstreams import Timeouts, UpstreamSettings, UpstreamTarget
    from gateway.telemetry.metrics import Metric

SWEEP_S: Final = 0.05
_REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_NO_STATUS: Final = 1000


class Upstream:
    """One upstream by name: forwards a request's bytes to one of its addresses.

    *endpoints* are its addresses. *counts* is what happened, by metric and labels, until somebody takes it away; it
    may be one for several upstreams, and outlive them.
    """

    def __init__(
        self,
        settings: UpstreamSettings,
        loop: asyncio.AbstractEventLoop,
        resolve: Resolve = system_addresses,
        counts: Counts | None = None,
    ) -> None:
        """Prepare; nothing is looked up or connected yet. Raises ValueError when files for TLS cannot be used."""
        self.settings = settings
        self.counts: Counts = Counter() if counts is None else counts
        self._loop = loop
        self._admission = Admission(settings.name, settings.concurrent_max, settings.queue_max, settings.queue_s)
        self.endpoints = Endpoints(settings, loop, self._arranged, self._count_ejection)
        self._dialler = Dialler(settings.name, loop, settings.tls.server_name)
        if any(target.tls for target in settings.targets):
            self._dialler.tls = make_context(settings.tls)
        self._upkeep = Upkeep(settings, loop, self.endpoints, self._dialler, resolve, self.counts)
        self._budget = RetryBudget(settings.retries)
        self._requests = 0
        self._failing_status = 500 if settings.ejection.server_errors else _NO_STATUS
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def everyone(self) -> list[Endpoint]:
        """All addresses, with how each is doing."""
        return self.endpoints.everyone

    @property
    def is_away(self) -> bool:
        """Whether no address answers as it should: all are failing or unhealthy, or there is none."""
        return self.endpoints.is_away

    @property
    def idle_count(self) -> int:
        """How many connections wait for a request."""
        return sum(len(one.idle) for one in self.everyone)

    @property
    def busy_count(self) -> int:
        """How many connections carry one."""
        return sum(len(one.busy) for one in (*self.everyone, *self.endpoints.leaving))

    @property
    def queued(self) -> int:
        """How many requests wait for others to end."""
        return self._admission.queued

    def start(self) -> None:
        """Begin to look up names, to check health and to watch certificates, as the settings want it."""
        self._upkeep.start()

    def inherit(self, before: Upstream) -> None:
        """Go on with what *before*, which had this name under other settings, knows of the addresses that stay."""
        self.endpoints.inherit(before.endpoints, connections=before.settings.tls == self.settings.tls)

    async def forward(
        self,
        method: str,
        head: Callable[[UpstreamTarget], bytes],
        body: bytes | AsyncIterator[bytes],
        timeouts: Timeouts,
        *,
        upgrade: bool = False,
    ) -> UpstreamAnswer:
        """Send a request and give the head of its answer; raises UpstreamFault.

        *head* makes the head for a target. A body in bytes is complete, an iterator is streamed as it comes, already
        framed; what it raises is raised here. With *upgrade* the answer may be a switch of protocols (101).
        """
        began = self._loop.time()
        ends = began + timeouts.total_s
        admission = self._admission
        if admission.in_flight < admission.places:
            admission.in_flight += 1
            endpoint = next(self._turn)
        else:
            endpoint = await self._enter(timeouts.connect_s)
            began = self._loop.time()
        self._requests += 1
        again = False
        try:
            while True:
                connection = None if again else endpoint.reuse(began)
                reused = connection is not None
                if connection is None:
                    endpoint, connection, again = await self._connect(endpoint, timeouts.connect_s, again)
                    began = self._loop.time()
                answered = self._loop.create_future()
                deadline = min(ends, began + timeouts.first_byte_s) if isinstance(body, bytes) else ends
                exchange = Exchange(answered, method == "HEAD", timeouts.idle_s, deadline, ends, upgrade)
                endpoint.busy.add(connection)
                if self._sweeper is None:
                    self._sweep_soon()
                try:
                    if isinstance(body, bytes):
                        connection.begin(exchange, head(endpoint.target) + body)
                        await answered
                    else:
                        connection.begin(exchange, head(endpoint.target))
                        await stream(connection, exchange, body, timeouts)
                except BaseException as error:
                    endpoint.drop(connection)
                    stale = reused and not exchange.touched and method in _REPEATABLE and body == b""
                    if stale and isinstance(error, UpstreamClosed) and self._may_retry():
                        endpoint, again = self.endpoints.another(endpoint), True
                        continue
                    self._blame(endpoint, error)
                    raise
                if endpoint.failing and exchange.status < self._failing_status:
                    self.endpoints.succeeded(endpoint)
                start = (exchange.status, exchange.reason, exchange.fields)
                return UpstreamAnswer(*start, exchange, connection, endpoint, self)
        except BaseException:
            admission.leave()
            raise

    async def _enter(self, connect_s: float) -> Endpoint:
        """Take a place where that needs thought: somebody is due for a trial, nobody is there, or all places are taken.

        Raises UpstreamAway, UpstreamBusy and UpstreamUnreachable.
        """
        endpoints = self.endpoints
        if not endpoints.everyone:
            await self._upkeep.wait_for_addresses(connect_s)
        on_trial = endpoints.trial()
        if on_trial is None and endpoints.is_open:
            raise UpstreamAway(f"all addresses of upstream {self.settings.name} are failing")
        try:
            await self._admission.wait()
        except BaseException:
            if on_trial is not None:
                endpoints.given_up(on_trial)
            raise
        chosen = on_trial or next(self._turn, None)
        if chosen is None:
            self._admission.leave()
            raise UpstreamAway(f"all addresses of upstream {self.settings.name} are failing")
        return chosen

    async def _connect(
        self, endpoint: Endpoint, connect_s: float, again: bool
    ) -> tuple[Endpoint, UpstreamConnection, bool]:
        """Connect to *endpoint*, or once to another unless the request has been sent *again* already."""
        while True:
            endpoint.connecting += 1
            chosen = endpoint
            try:
                reached, connection = await self._dialler.dial(chosen, self.endpoints.siblings(chosen), connect_s)
            except (UpstreamUnreachable, UpstreamUntrusted) as fault:
                self._count(metrics.UPSTREAM_CONNECT_FAILURES, chosen.target.name, fault.reason)
                self.endpoints.failed(chosen)
                if again or self.endpoints.is_open or not self._may_retry():
                    raise
                endpoint, again = self.endpoints.another(chosen), True
            except BaseException:
                self.endpoints.given_up(chosen)
                raise
            else:
                if reached is not chosen:
                    self._count(metrics.UPSTREAM_CONNECT_FAILURES, chosen.target.name, "passed_over")
                    self.endpoints.failed(chosen)
                return reached, connection, again
            finally:
                chosen.connecting -= 1

    def release(self, endpoint: Endpoint, connection: UpstreamConnection) -> None:
        """Take a connection back, or drop it (an UpstreamAnswer calls this)."""
        admission, exchange = self._admission, connection.exchange
        if admission.queue:
            admission.leave()
        else:
            admission.in_flight -= 1
        if exchange is None or not exchange.complete:
            if exchange is not None and exchange.fault is not None and not exchange.switched:
                self.endpoints.failed(endpoint)
            endpoint.drop(connection)
            return
        if endpoint.watched:
            self._judge(endpoint, exchange.status)
        endpoint.busy.discard(connection)
        connection.exchange = None
        idle = endpoint.idle
        if connection.reusable and not connection.closed and len(idle) < endpoint.idle_max:
            connection.idle_since = self._loop.time()
            idle.append(connection)
        else:
            connection.abort()

    def _judge(self, endpoint: Endpoint, status: int) -> None:
        if status >= self._failing_status:
            self.endpoints.failed(endpoint)
        else:
            self.endpoints.succeeded(endpoint)

    def _blame(self, endpoint: Endpoint, error: BaseException) -> None:
        """Count what *endpoint* did wrong; that the client went away is nobody's fault."""
        if isinstance(error, UpstreamFault):
            self.endpoints.failed(endpoint)
        else:
            self.endpoints.given_up(endpoint)

    def _may_retry(self) -> bool:
        allowed = self._budget.take(self._loop.time(), self._requests)
        self._count(metrics.UPSTREAM_RETRIES, "sent" if allowed else "refused")
        return allowed

    def _count(self, metric: Metric, *labels: str) -> None:
        self.counts[metric, (self.settings.name, *labels)] += 1

    def _count_ejection(self, endpoint: Endpoint) -> None:
        self._count(metrics.UPSTREAM_EJECTIONS, endpoint.target.name)

    def _arranged(self, turn: Iterator[Endpoint], settled: bool) -> None:
        self._turn = turn
        self._admission.places = self._admission.most if settled else 0

    def _sweep_soon(self) -> None:
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """Fail every exchange that is past its deadline: one timer for all of them."""
        self._sweeper = None
        now = self._loop.time()
        self._budget.sample(now, self._requests)
        busy = [connection for one in (*self.everyone, *self.endpoints.leaving) for connection in one.busy]
        for connection in busy:
            exchange = connection.exchange
            if exchange is not None and exchange.deadline <= now:
                connection.fail(UpstreamTooSlow(f"upstream {self.settings.name} did not answer in time"))
        if busy:
            self._sweep_soon()

    def retire(self) -> None:
        """Keep no connection any more: idle ones are dropped now, busy ones when they are released."""
        self._upkeep.stop()
        self.endpoints.close()

    def close(self) -> None:
        """Drop all idle connections, and watch the others no longer."""
        self.retire()
        if self._sweeper is not None:
            self._sweeper.cancel()
