"""Endpoints: all that a worker has for other proxies, as its listeners take it."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.sidecar.application import sidecar_routes
from gateway.sidecar.fast import DecisionServer
from gateway.sidecar.syslog import SyslogReports

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Iterator

    from aiohttp import web

    from gateway.accounting.moments import Moments
    from gateway.accounting.outcomes import Outcomes
    from gateway.adapters.journal import Journal
    from gateway.settings.schema import Config
    from gateway.sidecar.decisions import Decisions


@dataclass(frozen=True, slots=True)
class Sidecar:
    """Decisions and reports, with what they are answered with."""

    config: Config
    decisions: Decisions
    outcomes: Outcomes
    journal: Journal
    moments: Moments

    def routes(self) -> list[web.RouteDef]:
        """Give the routes of the internal listener's application."""
        settings = self.config.sidecar
        return sidecar_routes(self.decisions, settings.path, self.outcomes, settings.report_path, self.journal)

    def plain_tier(self) -> DecisionServer | None:
        """Give what answers plain questions before the application does; None when all is to go there."""
        if not self.config.listen.fast_path:
            return None
        return DecisionServer(self.decisions, self.config.sidecar.path, self.journal, self.moments)

    @asynccontextmanager
    async def answering_envoy(self) -> AsyncIterator[None]:
        """Answer Envoy's own services, if that is wanted, while the block runs; raises OSError."""
        listener = self.config.sidecar.grpc
        if listener is None:
            yield
            return
        from gateway.sidecar.grpc_server import answering  # noqa: PLC0415  # it needs an extra

        async with answering(self, listener, self.config.drain.timeout_s):
            yield

    @contextmanager
    def reading(self, reports: socket.socket | None) -> Iterator[None]:
        """Take the reports that come to this socket, if there is one, while the block runs."""
        if reports is None:
            yield
            return
        syslog = SyslogReports(reports, self.outcomes)
        syslog.start()
        try:
            yield
        finally:
            syslog.stop()
