"""Names of targets are looked up again and again; all of their addresses are used, and none that is gone."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from gateway.adapters.http.faults import UpstreamFault, UpstreamUnreachable
from gateway.adapters.http.names import system_addresses
from gateway.core.upstreams import Ejection, UpstreamTarget
from gateway.telemetry import metrics
from tests.backends import Backend
from tests.integration.upstreams import Asker, until

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "things.test"


class Table:
    """A resolver that says what the test has written into *addresses*, and counts how often it was asked."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.asked = 0

    async def __call__(self, name: str) -> list[str]:
        assert name == NAME
        self.asked += 1
        if not self.addresses:
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return list(self.addresses)


@pytest.fixture
def three() -> Iterator[list[Backend]]:
    """Backends on one port of three addresses of this machine."""
    backends: list[Backend] = []
    port = 0
    for last in (1, 2, 3):
        backends.append(Backend(socket.create_server((f"127.0.0.{last}", port), backlog=64)))
        port = backends[0].port
    yield backends
    for backend in backends:
        backend.close()


def target(port: int) -> UpstreamTarget:
    return UpstreamTarget(NAME, port, f"{NAME}:{port}")


def asking(port: int, table: Table, **settings: object) -> Asker:
    return Asker(target(port), resolve=table, **{"resolve_s": 0.05} | settings)


def counts(backends: list[Backend]) -> list[int]:
    return [len(backend.requests) for backend in backends]


async def test_all_addresses_of_a_name_are_used_and_see_the_name(three: list[Backend]) -> None:
    table = Table("127.0.0.1", "127.0.0.2", "127.0.0.3")
    async with aclosing(asking(three[0].port, table)) as asker:
        for _ in range(12):
            await asker.ask()
    assert counts(three) == [4, 4, 4]
    assert {request.one("host") for backend in three for request in backend.requests} == {f"{NAME}:{three[0].port}"}


async def test_connections_to_an_address_that_is_gone_are_closed_and_a_new_one_is_used(three: list[Backend]) -> None:
    table = Table("127.0.0.1", "127.0.0.2")
    async with aclosing(asking(three[0].port, table)) as asker:
        for _ in range(4):
            await asker.ask()
        table.addresses = ["127.0.0.2", "127.0.0.3"]
        assert await until(lambda: three[0].open_connections == 0)
        for _ in range(4):
            await asker.ask()
        assert counts(three) == [2, 4, 2]
        assert len(three[1].connections) == 1


async def test_the_last_addresses_are_kept_while_nobody_can_look_them_up(three: list[Backend]) -> None:
    table = Table("127.0.0.1")
    async with aclosing(asking(three[0].port, table)) as asker:
        await asker.ask()
        table.addresses = []
        asked = table.asked
        assert await until(lambda: table.asked > asked + 2)
        assert (await asker.ask()).status == 200
        name = f"{NAME}:{three[0].port}"
        assert asker.upstream.counts[metrics.UPSTREAM_RESOLVE_FAILURES, ("tested", name)] >= 2


async def test_a_name_that_was_never_known_is_a_fault_in_time_and_is_found_later(three: list[Backend]) -> None:
    table = Table()
    async with aclosing(asking(three[0].port, table)) as asker:
        with pytest.raises(UpstreamUnreachable):
            await asker.ask()
        assert asker.upstream.is_away
        table.addresses = ["127.0.0.1"]
        assert (await asker.ask()).status == 200
        assert not asker.upstream.is_away


async def test_a_request_before_the_first_look_up_waits_for_it(three: list[Backend]) -> None:
    async with aclosing(asking(three[0].port, Table("127.0.0.1"))) as asker:
        answers = await asyncio.gather(*(asker.ask() for _ in range(5)))
    assert [answer.status for answer in answers] == [200] * 5


async def test_an_address_that_refuses_is_passed_over_for_another_of_the_name(three: list[Backend]) -> None:
    port = three[0].port
    three[0].close()
    table = Table("127.0.0.1", "127.0.0.2")
    rules = Ejection(consecutive_failures=2, first_s=10)
    async with aclosing(asking(port, table, ejection=rules, resolve_s=10.0)) as asker:
        for _ in range(8):
            assert (await asker.ask("POST", body=b"abc")).status == 200
        assert Counter(one.state for one in asker.upstream.everyone) == {"ejected": 1, "serving": 1}
        assert not asker.upstream.counts[metrics.UPSTREAM_RETRIES, ("tested", "sent")]


async def test_an_address_that_does_not_answer_at_all_is_passed_over_in_time(three: list[Backend]) -> None:
    full = socket.socket()
    full.bind(("127.0.0.4", three[0].port))
    full.listen(0)
    # A queue that nobody empties: the kernel drops what comes on top.
    waiting = [socket.socket() for _ in range(4)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(("127.0.0.4", three[0].port))
    try:
        async with aclosing(asking(three[0].port, Table("127.0.0.4", "127.0.0.1"), resolve_s=10.0)) as asker:
            for _ in range(3):
                assert (await asker.ask("POST", body=b"abc")).status == 200
    finally:
        for one in (full, *waiting):
            one.close()


async def test_the_systems_resolver_gives_all_addresses_once() -> None:
    assert "127.0.0.1" in await system_addresses("localhost")
    with pytest.raises(OSError):
        await system_addresses("no-such-name.invalid")


async def test_what_ends_ends_its_look_ups(three: list[Backend]) -> None:
    table = Table("127.0.0.1")
    asker = asking(three[0].port, table)
    await asker.ask()
    await asker.aclose()
    asked = table.asked
    await asyncio.sleep(0.15)
    assert table.asked == asked


async def test_an_upstream_that_is_never_reached_says_so(three: list[Backend]) -> None:
    three[2].close()
    async with aclosing(asking(three[0].port, Table("127.0.0.3"))) as asker:
        with pytest.raises(UpstreamFault):
            await asker.ask()
