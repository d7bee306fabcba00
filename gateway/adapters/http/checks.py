"""Active health checks: every worker asks every address of an upstream at each interval, on fresh connections."""

from __future__ import annotations

import asyncio
from random import uniform
from typing import TYPE_CHECKING

from gateway.adapters.http.exchange import NEVER, Exchange
from gateway.adapters.http.faults import DescriptorsExhausted, UpstreamFault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.adapters.http.dial import Dialler
    from gateway.adapters.http.endpoint import Endpoint
    from gateway.core.upstreams import HealthCheck


async def keep_checked(
    rules: HealthCheck, dialler: Dialler, everyone: Callable[[], Sequence[Endpoint]], tell: Callable[..., None]
) -> None:
    """Ask *everyone* at each interval and *tell* how they are, until cancelled."""
    while True:
        asked = list(everyone())
        for one, well in zip(
            asked, await asyncio.gather(*(is_well(one, rules, dialler) for one in asked)), strict=True
        ):
            if well is not None:
                tell(one, well=well)
        # Workers that were started together do not go on asking together.
        await asyncio.sleep(rules.interval_s * uniform(0.8, 1.0))


async def is_well(one: Endpoint, rules: HealthCheck, dialler: Dialler) -> bool | None:
    """Ask once; None if we could not."""
    connection = None
    try:
        async with asyncio.timeout(rules.timeout_s):
            _, connection = await dialler.dial(one, (), rules.timeout_s)
            answered = asyncio.get_running_loop().create_future()
            exchange = Exchange(answered, bodiless=False, idle_s=NEVER, deadline=NEVER, total_deadline=NEVER)
            fields = f"Host: {one.target.authority}\r\nUser-Agent: gateway\r\nConnection: close\r\n"
            connection.begin(exchange, f"GET {rules.path} HTTP/1.1\r\n{fields}\r\n".encode("ascii"))
            await answered
    except DescriptorsExhausted:
        return None
    except (UpstreamFault, TimeoutError):
        return False
    finally:
        if connection is not None:
            connection.exchange = None
            connection.abort()
    return exchange.status in rules.expected_status
