"""Health: whether this instance lives, whether it should get traffic, and what its numbers are.

Readiness is about taking traffic, not about perfection: once the store of keys has been reached, losing it or Redis
leaves the instance ready and `degraded`, because it goes on serving; taking every instance out at once would not help.
The same holds for an upstream that is away, unless the configuration says that it is required.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.telemetry.exposition import exposition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Health:
    """What the probes report. Each check gives None when its part is well, or a sentence.

    *upstreams* gives the state of each: the word for it, whether it is required, and the states of its addresses.
    """

    checks: dict[str, Callable[[], str | None]]
    was_reached: Callable[[], bool]
    upstreams: Callable[[], dict[str, dict[str, Any]]]
    draining: bool = field(default=False)

    @property
    def ready(self) -> bool:
        """Say whether traffic should be sent here."""
        lacking = any(upstream["required"] and upstream["status"] == "away" for upstream in self.upstreams().values())
        return self.was_reached() and not self.draining and not lacking

    def report(self) -> dict[str, Any]:
        """Give the state in one word, and the reasons by part."""
        reasons = {name: reason for name, check in self.checks.items() if (reason := check()) is not None}
        upstreams = self.upstreams()
        if away := [name for name, upstream in upstreams.items() if upstream["status"] == "away"]:
            reasons["upstreams"] = f"no address can be used of {', '.join(away)}"
        if self.draining:
            state = "draining"
        elif not self.ready:
            state = "unready"
        else:
            state = "degraded" if reasons else "ready"
        return {"status": state, "reasons": reasons, "upstreams": upstreams}


def internal_application(
    health: Health, counters: Path, publish: Callable[[], None], more: Iterable[web.RouteDef] = ()
) -> web.Application:
    """Make the application of the internal listener, with *more* on it.

    *publish* brings this worker's gauges up to date first.
    """

    async def livez(_request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def readyz(_request: web.Request) -> web.Response:
        return web.json_response(health.report(), status=200 if health.ready else 503)

    async def metrics(_request: web.Request) -> web.Response:
        publish()
        return web.Response(body=exposition(counters), headers={"Content-Type": METRICS_TYPE})

    application = web.Application()
    application.router.add_get("/livez", livez)
    application.router.add_get("/readyz", readyz)
    application.router.add_get("/metrics", metrics)
    application.router.add_routes(more)
    return application
