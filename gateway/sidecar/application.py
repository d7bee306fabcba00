"""The complete tier: decisions and reports as handlers of aiohttp's application on the internal listener."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import web
from multidict import CIMultiDict

from gateway.accounting.outcomes import RESULTS
from gateway.sidecar.decisions import Asked

if TYPE_CHECKING:
    from gateway.accounting.outcomes import Outcomes
    from gateway.adapters.journal import Journal
    from gateway.sidecar.decisions import Decisions

PIECE: Final = 200
"""Lines of a report that are taken before other requests have their turn, about a millisecond."""


def sidecar_routes(
    decisions: Decisions, endpoint: str, outcomes: Outcomes, report_path: str, journal: Journal
) -> list[web.RouteDef]:
    """Give the routes for proxies: *endpoint* and everything below it, with any method, and their reports.

    No answer leaves before what it is about is in *journal*.
    """

    async def decide(request: web.Request) -> web.Response:
        peername = None if request.transport is None else request.transport.get_extra_info("peername")
        peer = peername[0] if isinstance(peername, tuple) else ""
        # The path as it came: what aiohttp makes of it has been read once more.
        rest = request.raw_path.removeprefix(endpoint)
        names = [name for name, _ in request.raw_headers]
        try:
            reply = await decisions.decide(Asked(request.method, rest, request.headers, names, peer))
        finally:
            journal.flush()
        lines = [line.partition(": ") for line in reply.lines.decode("latin-1").split("\r\n")[:-1]]
        fields = CIMultiDict([(name, value) for name, _, value in lines])
        return web.Response(status=reply.status, body=reply.body, headers=fields)

    async def report(request: web.Request) -> web.Response:
        counts = dict.fromkeys(RESULTS, 0)
        for number, line in enumerate((await request.read()).splitlines(), 1):
            if number % PIECE == 0:
                await asyncio.sleep(0)
            if line.strip():
                counts[outcomes.report_line(line)] += 1
        journal.flush()
        # What is dropped may be reported again, with all the rest: it is taken once.
        return web.json_response(counts, status=503 if counts["dropped"] else 200)

    return [
        web.route("*", endpoint, decide),
        web.route("*", endpoint + "/{rest:.*}", decide),
        web.post(report_path, report),
    ]
