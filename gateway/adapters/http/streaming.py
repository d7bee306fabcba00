"""Sends the body of a request as it comes, while its answer may come first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.adapters.http.connection import UpstreamConnection
    from gateway.adapters.http.exchange import Exchange
    from gateway.core.upstreams import Timeouts


async def stream(
    connection: UpstreamConnection, exchange: Exchange, body: AsyncIterator[bytes], timeouts: Timeouts
) -> None:
    """Send *body* and wait for the head of the answer; raises UpstreamFault, and what *body* raises.

    An answer that comes first ends the sending, and the connection with it later.
    """
    sending = asyncio.get_running_loop().create_task(_send_all(connection, exchange, body, timeouts))
    try:
        await asyncio.wait({sending, exchange.answered}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done() and (error := sending.exception()) is not None:
            raise error
        if not sending.done():
            connection.reusable = False
        await exchange.answered
    finally:
        if not sending.done():
            sending.cancel()
            await asyncio.wait({sending})
        # What is raised above comes first; the other's failure is looked at, so that it is not reported as lost.
        for ended in (sending, exchange.answered):
            if ended.done() and not ended.cancelled():
                ended.exception()


async def _send_all(
    connection: UpstreamConnection, exchange: Exchange, body: AsyncIterator[bytes], timeouts: Timeouts
) -> None:
    now = asyncio.get_running_loop().time
    async for chunk in body:
        exchange.expect_within(timeouts.idle_s, now())
        await connection.send(chunk)
        # The client's pauses are its own; only the upstream's are timed here.
        exchange.expect_within(timeouts.total_s, now())
    exchange.expect_within(timeouts.first_byte_s, now())
