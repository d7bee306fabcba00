"""An upstream whose settings have changed goes on with what was known of the addresses that stay."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any

from gateway.core.upstreams import Ejection, HealthCheck, Tls, UpstreamTarget
from gateway.embedded.listening import free_port
from tests.integration.upstreams import Asker, local, until

if TYPE_CHECKING:
    from tests.backends import Backend

QUICK = Ejection(consecutive_failures=1, first_s=60)


def states(asker: Asker) -> dict[str, str]:
    return {one.target.name: one.state for one in asker.upstream.everyone}


async def changed(stack: AsyncExitStack, before: Asker, *targets: int | UpstreamTarget, **settings: Any) -> Asker:
    """The upstream after a change: the one before it is not asked any more."""
    asker = await stack.enter_async_context(aclosing(Asker(*targets, **settings)))
    asker.upstream.inherit(before.upstream)
    before.upstream.retire()
    return asker


async def test_an_ejected_address_stays_ejected_beside_new_ones(backend: Backend) -> None:
    dead, new = free_port(), free_port()
    async with AsyncExitStack() as stack:
        before = await stack.enter_async_context(aclosing(Asker(backend.port, dead, ejection=QUICK)))
        for _ in range(2):
            await before.ask()
        after = await changed(stack, before, local(backend.port, 9), dead, new, ejection=QUICK)
        assert states(after) == {
            f"127.0.0.1:{backend.port}": "serving",
            f"127.0.0.1:{dead}": "ejected",
            f"127.0.0.1:{new}": "serving",
        }
        assert len(backend.connections) == 2
        for _ in range(2):
            await after.ask()
        assert len(backend.connections) == 2
        assert len(backend.requests) == 4


async def test_connections_are_made_anew_when_certificates_are_others(backend: Backend) -> None:
    async with AsyncExitStack() as stack:
        before = await stack.enter_async_context(aclosing(Asker(backend.port)))
        await before.ask()
        after = await changed(stack, before, backend.port, tls=Tls(server_name="other.example.com"))
        await after.ask()
        assert len(backend.connections) == 2
        assert await until(lambda: backend.open_connections == 1)


async def test_no_more_connections_are_kept_than_the_new_settings_allow(backend: Backend) -> None:
    async with AsyncExitStack() as stack:
        before = await stack.enter_async_context(aclosing(Asker(backend.port)))
        await asyncio.gather(*(before.ask() for _ in range(4)))
        after = await changed(stack, before, backend.port, idle_connections_max=2)
        assert after.upstream.idle_count == 2
        assert await until(lambda: backend.open_connections == 2)


async def test_a_name_stands_for_the_same_addresses_until_it_is_looked_up_again(backend: Backend) -> None:
    async def once(_: str) -> list[str]:
        return ["127.0.0.1"]

    async def never(_: str) -> list[str]:
        raise OSError

    target = UpstreamTarget("budgets.internal", backend.port, "budgets.internal")
    async with AsyncExitStack() as stack:
        before = await stack.enter_async_context(aclosing(Asker(target, resolve=once)))
        await before.ask()
        after = await changed(stack, before, target, resolve=never, queue_max=1)
        assert (await after.ask()).status == 200
        assert len(backend.connections) == 1


async def test_without_health_checks_nobody_stays_unhealthy(backend: Backend) -> None:
    rules = HealthCheck("/", interval_s=0.01, timeout_s=0.5, unhealthy_after=1, expected_status=frozenset({299}))
    async with AsyncExitStack() as stack:
        before = await stack.enter_async_context(aclosing(Asker(backend.port, health=rules)))
        assert await until(lambda: before.upstream.everyone[0].state == "unhealthy")
        kept = await changed(stack, before, backend.port, health=rules, queue_max=1)
        assert kept.upstream.is_away
        after = await changed(stack, kept, backend.port)
        assert (await after.ask()).status == 200
