"""The throttle of logins: failures are counted by e-mail and address, and nothing of it depends on who exists."""

from __future__ import annotations

import asyncio
import json
import signal
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from gateway.management.passwords import Passwords
from tests.integration.managing import PASSWORD, Managing, managing
from tests.unit.management.asking import NOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.core.answers import Answer
    from gateway.embedded.postgres import EmbeddedPostgres
    from gateway.embedded.valkey import EmbeddedValkey

EMAIL = "ada@example.com"
RIGHT = {"email": EMAIL, "password": PASSWORD}
WRONG = {"email": EMAIL, "password": "wrong"}
REDIS_TIMEOUT_MS = 2000
"""Generous: the machine is shared."""


def redis_at(url: str) -> dict[str, Any]:
    return {"redis": {"url": url, "timeout_ms": REDIS_TIMEOUT_MS}}


@pytest.fixture
async def asking(postgres_dsn: str, redis_url: str) -> AsyncIterator[Managing]:
    async with managing(postgres_dsn, **redis_at(redis_url)) as asking:
        await asking.user(EMAIL)
        yield asking


async def statuses(asking: Managing, value: dict[str, str], times: int, **more: Any) -> list[int]:
    return [(await asking.ask("login", value, **more)).status for _ in range(times)]


async def test_after_ten_failures_even_the_right_password_gets_429_and_is_told_when(asking: Managing) -> None:
    assert await statuses(asking, WRONG, 10) == [401] * 10
    answer = await asking.ask("login", RIGHT)
    told = json.loads(answer.body)
    assert (answer.status, told["error"]) == (429, "rate_limit_exceeded")
    headers = dict(answer.headers)
    wait_s = int(headers["Retry-After"])
    assert 800 < wait_s <= 900
    assert told["message"] == f"Too many failed logins. Try again in {wait_s} seconds"
    assert (told["details"]["limit"], told["details"]["remaining"]) == (10, 0)
    assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("10", "0")
    assert headers["X-RateLimit-Window"] == "900"
    assert NOW + 800 < int(headers["X-RateLimit-Reset"]) <= NOW + 900


async def test_the_refusal_is_the_same_whether_the_e_mail_exists_or_not(asking: Managing) -> None:
    nobody = {"email": "nobody@example.com", "password": "wrong"}
    for value in (WRONG, nobody):
        await statuses(asking, value, 10)
    answers = [await asking.ask("login", value) for value in (WRONG, nobody)]

    def without_seconds(answer: Answer) -> tuple[int, set[str], set[str]]:
        return answer.status, set(json.loads(answer.body)), {name for name, _ in answer.headers}

    assert without_seconds(answers[0]) == without_seconds(answers[1])
    assert answers[0].status == 429


async def test_nobody_is_locked_out_elsewhere(asking: Managing) -> None:
    await statuses(asking, WRONG, 11)
    assert await statuses(asking, RIGHT, 1, address="198.51.100.7") == [200]


async def test_a_success_clears_its_pair_and_successes_are_never_limited(asking: Managing) -> None:
    for _ in range(3):
        assert await statuses(asking, WRONG, 9) == [401] * 9
        assert await statuses(asking, RIGHT, 4) == [200] * 4


async def test_an_address_fails_a_hundred_times_at_most_whatever_it_guesses(asking: Managing) -> None:
    guesses = [await asking.ask("login", {"email": f"{n}@example.com", "password": "x"}) for n in range(100)]
    assert {answer.status for answer in guesses} == {401}
    assert await statuses(asking, {"email": "another@example.com", "password": "x"}, 1) == [429]


async def test_addresses_of_one_ipv6_network_count_as_one(asking: Managing) -> None:
    for number in range(10):
        assert await statuses(asking, WRONG, 1, address=f"2001:db8::{number:x}") == [401]
    assert await statuses(asking, WRONG, 1, address="2001:db8::ffff") == [429]
    assert await statuses(asking, WRONG, 1, address="2001:db8:0:1::1") == [401]


@pytest.mark.parametrize("spelling", ["ADA@example.com", "ada@EXAMPLE.com", "\uff41da@example.com"])
async def test_another_spelling_of_the_e_mail_brings_no_further_guesses(asking: Managing, spelling: str) -> None:
    await statuses(asking, WRONG, 10)
    assert await statuses(asking, {"email": spelling, "password": "wrong"}, 1) == [429]


async def test_fifty_logins_at_once_do_not_exceed_the_limit(asking: Managing) -> None:
    answers = await asyncio.gather(*(asking.ask("login", WRONG) for _ in range(50)))
    assert sorted(answer.status for answer in answers) == [401] * 10 + [429] * 40


async def test_two_instances_count_together(asking: Managing, postgres_dsn: str, redis_url: str) -> None:
    secret = {"secrets": {"key": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}}
    async with (
        managing(postgres_dsn, **redis_at(redis_url), **secret) as one,
        managing(postgres_dsn, **redis_at(redis_url), **secret) as other,
    ):
        assert await statuses(one, WRONG, 5) == [401] * 5
        assert await statuses(other, WRONG, 6) == [401] * 5 + [429]
        assert await statuses(one, WRONG, 1) == [429]


async def test_a_refused_guess_costs_no_hash(asking: Managing, monkeypatch: pytest.MonkeyPatch) -> None:
    await statuses(asking, WRONG, 10)

    async def hashed(*_: object) -> bool:
        pytest.fail("a password was hashed")

    monkeypatch.setattr(Passwords, "verify", hashed)
    assert await statuses(asking, WRONG, 1) == [429]


async def test_no_e_mail_stands_in_redis_and_everything_there_ends(asking: Managing, redis_url: str) -> None:
    await statuses(asking, WRONG, 2)
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        keys = [key async for key in client.scan_iter()]
        assert len(keys) == 2
        assert not [key for key in keys if "ada" in key or "example" in key]
        for key in keys:
            assert 0 < await client.pttl(key) <= 910_000


async def test_the_limits_are_settings(postgres_dsn: str, redis_url: str) -> None:
    auth = {
        "password_hash": {"time_cost": 1, "memory_kib": 64, "parallelism": 1},
        "login_throttle": {"pair_failures_max": 2, "address_failures_max": 3, "window_s": 60},
    }
    async with managing(postgres_dsn, auth=auth, **redis_at(redis_url)) as asking:
        assert await statuses(asking, WRONG, 3) == [401, 401, 429]
        assert await statuses(asking, {"email": "bob@example.com", "password": "x"}, 2) == [401, 429]


@pytest.mark.timeout(60)
async def test_while_redis_is_away_a_worker_counts_by_itself_and_goes_on_where_it_was(
    postgres_dsn: str, valkey: EmbeddedValkey
) -> None:
    async with managing(postgres_dsn, **redis_at(valkey.url)) as asking:
        await asking.user(EMAIL)
        assert await statuses(asking, WRONG, 4) == [401] * 4
        await valkey.stop()
        assert await statuses(asking, WRONG, 8) == [401] * 6 + [429] * 2
        assert await statuses(asking, RIGHT, 1, address="198.51.100.7") == [200]
        await valkey.start()
        async with asyncio.timeout(20):
            # Redis was empty when it came back, or knows of four: its word counts again.
            while await statuses(asking, RIGHT, 1) != [200]:
                await asyncio.sleep(0.05)


@pytest.mark.timeout(60)
async def test_a_redis_that_does_not_answer_costs_a_login_little_and_lets_no_guess_through(
    postgres_dsn: str, valkey: EmbeddedValkey
) -> None:
    async with managing(postgres_dsn, redis={"url": valkey.url, "timeout_ms": 500}) as asking:
        await asking.user(EMAIL)
        assert await statuses(asking, RIGHT, 1) == [200]
        valkey.child.send(signal.SIGSTOP)
        try:
            begun = perf_counter()
            assert await statuses(asking, WRONG, 12) == [401] * 10 + [429] * 2
            # Asked at most once a second, and not twenty-four times for half a second.
            assert perf_counter() - begun < 8
        finally:
            valkey.child.send(signal.SIGCONT)


@pytest.mark.parametrize("command", [("CONFIG", "SET", "maxmemory", "1"), ("REPLICAOF", "127.0.0.1", "1")])
@pytest.mark.timeout(60)
async def test_a_redis_that_refuses_to_write_is_a_redis_that_is_away(
    postgres_dsn: str, valkey: EmbeddedValkey, command: tuple[str, ...]
) -> None:
    async with Redis.from_url(valkey.url) as client:
        await client.execute_command(*command)
    async with managing(postgres_dsn, **redis_at(valkey.url)) as asking:
        assert await statuses(asking, WRONG, 11) == [401] * 10 + [429]


@pytest.mark.timeout(60)
async def test_a_login_that_could_not_be_judged_is_no_failure(own_postgres: EmbeddedPostgres, redis_url: str) -> None:
    async with managing(own_postgres.dsn, **redis_at(redis_url)) as asking:
        await asking.user(EMAIL)
        await own_postgres.stop()
        assert await statuses(asking, WRONG, 12) == [503] * 12
        await own_postgres.start()
        async with asyncio.timeout(20):
            while await statuses(asking, RIGHT, 1) == [503]:
                await asyncio.sleep(0.05)
        assert await statuses(asking, RIGHT, 1) == [200]
