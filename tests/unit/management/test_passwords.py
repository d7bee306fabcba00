"""Passwords: right, wrong, nobody's, too many at once."""

from __future__ import annotations

import asyncio
import statistics
import threading
from time import perf_counter
from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher, extract_parameters

from gateway.management.passwords import THREADS, WAITING_MAX, Passwords, PasswordsBusy

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    passwords = Passwords(time_cost=1, memory_kib=1024, parallelism=1)
    yield passwords
    passwords.close()


async def test_only_the_right_password_matches(passwords: Passwords) -> None:
    made = await passwords.hash("correct horse")
    assert await passwords.verify(made, "correct horse")
    assert not await passwords.verify(made, "Correct horse")
    assert not await passwords.verify("not a hash", "correct horse")


async def test_nobody_has_no_password(passwords: Passwords) -> None:
    assert not await passwords.verify(None, "correct horse")
    assert not await passwords.verify(None, "")


async def test_nobody_takes_as_long_as_somebody() -> None:
    passwords = Passwords(time_cost=2, memory_kib=8192, parallelism=1)
    made = await passwords.hash("correct horse")

    async def seconds(password_hash: str | None) -> float:
        begun = perf_counter()
        await passwords.verify(password_hash, "wrong")
        return perf_counter() - begun

    pairs = [(await seconds(made), await seconds(None)) for _ in range(15)]
    known, unknown = (statistics.median(times) for times in zip(*pairs, strict=True))
    assert 0.6 < known / unknown < 1.6
    passwords.close()


async def test_hash_of_another_cost_is_outdated_and_still_matches(passwords: Passwords) -> None:
    old = PasswordHasher(time_cost=2, memory_cost=512, parallelism=1).hash("correct horse")
    assert passwords.outdated(old)
    assert await passwords.verify(old, "correct horse")
    assert not passwords.outdated(await passwords.hash("correct horse"))


async def test_hash_is_argon2id_at_the_configured_cost(passwords: Passwords) -> None:
    parameters = extract_parameters(await passwords.hash("correct horse"))
    assert parameters.type.name == "ID"
    assert (parameters.time_cost, parameters.memory_cost, parameters.parallelism) == (1, 1024, 1)


async def test_one_more_than_may_wait_is_turned_away_at_once(passwords: Passwords) -> None:
    release = threading.Event()
    work = [asyncio.ensure_future(passwords._work(release.wait)) for _ in range(THREADS + WAITING_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(PasswordsBusy):
        await passwords.verify(None, "x")
    release.set()
    await asyncio.gather(*work)
    assert not await passwords.verify(None, "x")


async def test_the_event_loop_goes_on_meanwhile() -> None:
    passwords = Passwords(time_cost=8, memory_kib=32_768, parallelism=1)
    checking = asyncio.ensure_future(passwords.verify(None, "x"))
    turns = 0
    while not checking.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10
    passwords.close()
