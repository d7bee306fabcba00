"""Asks an upstream as the forwarder does, for the tests of `adapters/http`."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gateway.adapters.http.names import system_addresses
from gateway.adapters.http.upstream import Upstream
from gateway.core.upstreams import UNBOUNDED, Timeouts, UpstreamSettings, UpstreamTarget

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.adapters.http.answer import UpstreamAnswer
    from gateway.adapters.http.names import Resolve
    from gateway.core.headers import Field

FIRST_BYTE_S = 0.5
PATIENT = Timeouts(connect_s=2.0, first_byte_s=20.0, idle_s=20.0, total_s=20.0)
TIMEOUTS = Timeouts(connect_s=0.5, first_byte_s=FIRST_BYTE_S, idle_s=0.5, total_s=20.0)


@dataclass
class Whole:
    """An answer read to its end."""

    status: int
    fields: list[Field]
    body: bytes


def local(port: int, weight: int = 1) -> UpstreamTarget:
    """A target on this machine."""
    return UpstreamTarget("127.0.0.1", port, f"127.0.0.1:{port}", weight=weight)


class Asker:
    """An upstream with *targets*, ports of this machine or others, and requests to it."""

    def __init__(self, *targets: int | UpstreamTarget, resolve: Resolve = system_addresses, **settings: Any) -> None:
        places = tuple(local(target) if isinstance(target, int) else target for target in targets)
        given = UpstreamSettings("tested", places, **{"timeouts": TIMEOUTS} | settings)
        self.upstream = Upstream(given, asyncio.get_running_loop(), resolve)
        self.upstream.start()

    async def aclose(self) -> None:
        """Close the upstream's connections, and let the loop do so."""
        self.upstream.close()
        await asyncio.sleep(0)

    def head(self, method: str, path: str, *lines: str) -> Callable[[UpstreamTarget], bytes]:
        def head(target: UpstreamTarget) -> bytes:
            fields = "".join(f"{line}\r\n" for line in (f"Host: {target.authority}", *lines))
            return f"{method} {path} HTTP/1.1\r\n{fields}\r\n".encode()

        return head

    async def forward(
        self, method: str, head: Callable[[UpstreamTarget], bytes], body: bytes | AsyncIterator[bytes]
    ) -> UpstreamAnswer:
        """Ask with the timeouts of the upstream."""
        return await self.upstream.forward(method, head, body, self.upstream.settings.timeouts)

    async def ask(
        self,
        method: str = "GET",
        path: str = "/",
        *,
        body: bytes | AsyncIterator[bytes] = b"",
        length: int | None = None,
        endless: bool = False,
    ) -> Whole:
        """Send a request and read its answer to the end."""
        size = len(body) if isinstance(body, bytes) and body else length
        lines = [] if size is None else [f"Content-Length: {size}"]
        timeouts = self.upstream.settings.timeouts
        if endless:
            timeouts = replace(timeouts, total_s=UNBOUNDED)
        answer = await self.upstream.forward(method, self.head(method, path, *lines), body, timeouts)
        pieces = []
        try:
            if answer.complete:
                return Whole(answer.status, answer.fields, answer.take_body())
            last = False
            while not last:
                piece, last = await answer.read()
                pieces.append(piece)
        finally:
            answer.release()
        return Whole(answer.status, answer.fields, b"".join(pieces))


async def until(condition: Callable[[], bool], timeout_s: float = 3.0) -> bool:
    """Ask *condition* until it is true, and say whether that came within *timeout_s*."""
    deadline = time.monotonic() + timeout_s
    while not (held := condition()) and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    return held
