"""Upkeep: what goes on beside an upstream's requests: names are looked up, health and certificates are watched."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from gateway.adapters.http.certificates import keep_current
from gateway.adapters.http.checks import keep_checked
from gateway.adapters.http.endpoints import fixed_address
from gateway.adapters.http.faults import UpstreamUnreachable
from gateway.adapters.http.names import keep_resolved
from gateway.telemetry import metrics

if TYPE_CHECKING:
    import ssl
    from collections import Counter
    from collections.abc import Collection, Coroutine, Iterator

    from gateway.adapters.http.dial import Dialler
    from gateway.adapters.http.endpoints import Endpoints
    from gateway.adapters.http.names import Resolve
    from gateway.core.upstreams import UpstreamSettings, UpstreamTarget
    from gateway.telemetry.metrics import Metric

    Counts = Counter[tuple[Metric, tuple[str, ...]]]
    """How often what happened, by metric and labels."""

log = structlog.get_logger()


class Upkeep:
    """The background work for one upstream, none if its settings need none."""

    def __init__(
        self,
        settings: UpstreamSettings,
        loop: asyncio.AbstractEventLoop,
        endpoints: Endpoints,
        dialler: Dialler,
        resolve: Resolve,
        counts: Counts,
    ) -> None:
        """Prepare."""
        self._settings = settings
        self._loop = loop
        self._endpoints = endpoints
        self._dialler = dialler
        self._resolve = resolve
        self._counts = counts
        self._named = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] | None = None

    def start(self) -> None:
        """Begin, once."""
        if self._tasks is None:
            self._tasks = [self._loop.create_task(work) for work in self._work()]
            for task in self._tasks:
                task.add_done_callback(self._ended)

    def stop(self) -> None:
        """End all of it, for good."""
        for task in self._tasks or ():
            task.cancel()
        self._tasks = []

    async def wait_for_addresses(self, seconds: float) -> None:
        """Wait until some name has been looked up; raises UpstreamUnreachable."""
        self.start()
        try:
            async with asyncio.timeout(seconds):
                await self._named.wait()
        except TimeoutError:
            message = f"no address is known for upstream {self._settings.name}"
            raise UpstreamUnreachable(message, "name") from None

    def _work(self) -> Iterator[Coroutine[Any, Any, None]]:
        settings = self._settings
        for target in settings.targets:
            if fixed_address(target) is None:
                every_s = settings.resolve_s
                name, resolve = settings.name, self._resolve
                yield keep_resolved(name, target, every_s, resolve, use=self._use_addresses, failed=self._unresolved)
        if settings.health is not None:
            tell = self._endpoints.checked
            yield keep_checked(settings.health, self._dialler, lambda: self._endpoints.everyone, tell)
        files = (settings.tls.ca, settings.tls.certificate, settings.tls.key)
        if self._dialler.tls is not None and any(files):
            yield keep_current(settings.name, settings.tls, self._use_certificates)

    def _use_addresses(self, target: UpstreamTarget, addresses: Collection[str]) -> None:
        self._endpoints.replace(target, addresses)
        self._named.set()

    def _unresolved(self, target: UpstreamTarget) -> None:
        self._counts[metrics.UPSTREAM_RESOLVE_FAILURES, (self._settings.name, target.name)] += 1

    def _use_certificates(self, context: ssl.SSLContext) -> None:
        """Go over to *context* at the next request, not only with the next connection."""
        self._dialler.tls = context
        for one in self._endpoints.everyone:
            one.close_idle()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            log.error("bug", upstream=self._settings.name, exc_info=task.exception())
