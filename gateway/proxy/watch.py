"""Watching: what goes on long after its request was admitted goes on only while the key may use its route.

Streams and tunnels are looked at twice a second, with the cached key as any request has it: a change of the key that is
in force for requests is in force for them. Limits are not charged again. A route that a reload has changed holds, as it
was, for what began before.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.access import Access
    from gateway.core.facts import RequestFacts
    from gateway.core.routes import Route

LOOK_S: Final = 0.5
READS_AT_ONCE: Final = 16


@dataclass(eq=False, slots=True)
class Watched:
    """One stream or tunnel. *end* is called with the reason when it must end: `access`, `idle` or `drain`.

    It is idle *idle_s* after *active*, a moment on the loop's clock; a stream, whose upstream is timed, never is.
    """

    facts: RequestFacts
    route: Route
    end: Callable[[str], None]
    active: float = 0.0
    idle_s: float | None = None


class Watch:
    """All streams and tunnels of a worker; whoever begins one adds it, and removes it when it has ended."""

    def __init__(self, access: Access) -> None:
        """Ask *access* whether keys may go on; `run` does so."""
        self._access = access
        self._streams: set[Watched] = set()
        self._tunnels: set[Watched] = set()

    def __len__(self) -> int:
        """How many streams and tunnels there are."""
        return len(self._streams) + len(self._tunnels)

    @property
    def tunnels(self) -> int:
        """How many tunnels are open."""
        return len(self._tunnels)

    def add(self, watched: Watched) -> None:
        """Watch a stream, or a tunnel."""
        (self._streams if watched.idle_s is None else self._tunnels).add(watched)

    def remove(self, watched: Watched) -> None:
        """Watch it no more: it has ended."""
        self._streams.discard(watched)
        self._tunnels.discard(watched)

    def drain(self) -> None:
        """End all tunnels, which would not end by themselves; streams may, while the worker waits."""
        for tunnel in list(self._tunnels):
            tunnel.end("drain")

    async def run(self) -> None:
        """Look at all of them, again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """End what has fallen silent, or whose key may no longer."""
        now = asyncio.get_running_loop().time()
        for tunnel in list(self._tunnels):
            if tunnel.idle_s is not None and now - tunnel.active >= tunnel.idle_s:
                tunnel.end("idle")
        everyone = iter([*self._streams, *self._tunnels])
        while some := list(islice(everyone, READS_AT_ONCE)):
            await asyncio.gather(*map(self._check, some))

    async def _check(self, watched: Watched) -> None:
        if not await self._access.still_holds(watched.facts, watched.route):
            watched.end("access")
