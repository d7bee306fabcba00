"""Reload: goes over to new settings between two requests, keeping the connections to upstreams that stay the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from gateway.adapters.http.upstream import Upstream
from gateway.live import Live
from gateway.settings.compile import compile_snapshot
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.adapters.http.upkeep import Counts
    from gateway.core.snapshot import Snapshot
    from gateway.core.upstreams import UpstreamSettings
    from gateway.settings.schema import Config
    from gateway.telemetry.telemetry import Telemetry

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Settings that could be gone over to, since when they are meant to be in force, and what is made of them."""

    config: Config
    since: float
    snapshot: Snapshot
    upstreams: dict[str, Upstream]


class Reload:
    """Goes over to new settings in two steps, so that all workers can do the first before any does the second.

    *live* is the cell that it fills, *config* says what is in force, *counts* is what happened at all upstreams, also
    at those that are gone. *preparers* are called before a change, and *followers* after it.
    """

    def __init__(self, config: Config, since: float, telemetry: Telemetry) -> None:
        """Put *config* in force, the first of this worker."""
        self._telemetry = telemetry
        self._waiting: _Prepared | None = None
        self.preparers: list[Callable[[Config], Awaitable[None]]] = []
        self.followers: list[Callable[[], None]] = []
        self.config = config
        self.counts: Counts = Counter()
        snapshot = compile_snapshot(config)
        upstreams = {name: self._upstream(settings) for name, settings in snapshot.upstreams.items()}
        self.live = Live(snapshot, upstreams)
        for upstream in upstreams.values():
            upstream.start()
        self._show(since)

    async def prepare(self, config: Config, since: float) -> None:
        """Make all that *config* needs; nothing is changed. Raises ValueError when something cannot be made."""
        snapshot = compile_snapshot(config)
        upstreams: dict[str, Upstream] = {}
        for name, settings in snapshot.upstreams.items():
            known = self.live.upstreams.get(name)
            keeps = known is not None and known.settings == settings
            upstreams[name] = known if known is not None and keeps else self._upstream(settings)
        for prepare in self.preparers:
            await prepare(config)
        for upstream in upstreams.values():
            upstream.start()  # Names are looked up by the time that they are needed.
        self._waiting = _Prepared(config, since, snapshot, upstreams)

    def commit(self) -> None:
        """Go over to what was prepared; upstreams that are gone finish what they began."""
        prepared, self._waiting = self._waiting, None
        assert prepared is not None
        before = self.live.upstreams
        self.config = prepared.config
        self.live.replace(prepared.snapshot, prepared.upstreams)
        for name, upstream in before.items():
            successor = prepared.upstreams.get(name)
            if successor is not upstream:
                if successor is not None:
                    successor.inherit(upstream)
                upstream.retire()
                self._telemetry.forget_gauges("gateway_upstream_", name)
        for follow in self.followers:
            follow()
        self._show(prepared.since)
        log.info("configuration changed", config_version=prepared.snapshot.version)

    def abandon(self) -> None:
        """Forget what was prepared."""
        prepared, self._waiting = self._waiting, None
        if prepared is not None:
            for name, upstream in prepared.upstreams.items():
                if self.live.upstreams.get(name) is not upstream:
                    upstream.close()

    def close(self) -> None:
        """Let the connections to upstreams go."""
        for upstream in self.live.upstreams.values():
            upstream.close()

    def _upstream(self, settings: UpstreamSettings) -> Upstream:
        return Upstream(settings, asyncio.get_running_loop(), counts=self.counts)

    def _show(self, since: float) -> None:
        self._telemetry.set(metrics.CONFIG_VERSION, int(self.live.current.version, 16))
        self._telemetry.set(metrics.CONFIG_SINCE, since)
