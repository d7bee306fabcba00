"""Names of targets, looked up anew again and again, because services move.

The system's resolver (getaddrinfo) does not tell how long an answer may be kept, so the configuration says it. While
the resolver fails, the last addresses are kept.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from random import uniform
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.core.upstreams import UpstreamTarget

LOOK_UP_S: Final = 5.0
AGAIN_S: Final = 1.0

Resolve = Callable[[str], Awaitable[list[str]]]
"""Gives the addresses of a name, in the order of preference; raises OSError when there is none, or nobody knows."""

log = structlog.get_logger()


async def system_addresses(name: str) -> list[str]:
    """Ask the system: /etc/hosts, DNS, whatever it is set up for. All addresses are given, IPv6 and IPv4."""
    found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def keep_resolved(
    upstream: str,
    target: UpstreamTarget,
    every_s: float,
    resolve: Resolve,
    *,
    use: Callable[[UpstreamTarget, Collection[str]], None],
    failed: Callable[[UpstreamTarget], None],
) -> None:
    """Call *use* with the addresses of *target* every *every_s*, or *failed*, until cancelled."""
    known = False
    while True:
        try:
            async with asyncio.timeout(LOOK_UP_S):
                addresses = await resolve(target.host)
        except OSError as error:  # TimeoutError is one.
            log.warning("name not resolved", upstream=upstream, target=target.name, error=type(error).__name__)
            failed(target)
            # Nothing works without a first answer; later ones can wait.
            await asyncio.sleep(every_s if known else min(AGAIN_S, every_s))
            continue
        if addresses:
            known = True
            use(target, addresses)
        # Not all workers at the same moment.
        await asyncio.sleep(every_s * uniform(0.9, 1.0))
