"""Login: the right pair gets a token, everything else gets one and the same answer."""

from __future__ import annotations

import asyncio
import json
import statistics
from time import perf_counter
from typing import TYPE_CHECKING

import asyncpg
import pytest
from argon2 import PasswordHasher, extract_parameters

from gateway.management.passwords import THREADS, WAITING_MAX
from tests.integration.managing import PASSWORD, Managing, managing
from tests.servers import execute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.embedded.postgres import EmbeddedPostgres

EMAIL = "ada@example.com"


@pytest.fixture
async def asking(postgres_dsn: str) -> AsyncIterator[Managing]:
    async with managing(postgres_dsn) as asking:
        await asking.user(EMAIL)
        yield asking


async def test_the_right_password_gets_a_token(asking: Managing) -> None:
    told = await asking.told(200, "login", {"email": EMAIL, "password": PASSWORD})
    assert set(told) == {"token", "accessToken", "tokenType", "expiresIn", "user"}
    assert told["token"] == told["accessToken"]
    assert (told["tokenType"], told["expiresIn"]) == ("Bearer", 3600)
    assert told["user"]["email"] == EMAIL
    assert told["user"]["id"].startswith("user_")


async def test_capitals_in_an_e_mail_do_not_matter(asking: Managing) -> None:
    told = await asking.told(200, "login", {"email": "ADA@Example.com", "password": PASSWORD})
    assert told["user"]["email"] == EMAIL


async def test_unknown_wrong_and_disabled_get_the_same_answer(asking: Managing, postgres_dsn: str) -> None:
    await asking.user("disabled@example.com")
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute("UPDATE users SET disabled = true WHERE email = 'disabled@example.com'")
    await connection.close()
    pairs = [(EMAIL, "wrong"), ("nobody@example.com", PASSWORD), ("disabled@example.com", PASSWORD), ("'", "'")]
    answers = [await asking.ask("login", {"email": email, "password": password}) for email, password in pairs]
    assert len({(answer.status, answer.body, answer.headers) for answer in answers}) == 1
    told = json.loads(answers[0].body)
    assert (answers[0].status, told["error"]) == (401, "invalid_credentials")
    assert dict(answers[0].headers)["WWW-Authenticate"] == 'Bearer realm="api"'
    assert told["requestId"] == "req_0123456789abcdef"


async def test_a_hash_of_another_cost_is_renewed_at_the_next_login(asking: Managing, postgres_dsn: str) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    old = PasswordHasher(time_cost=2, memory_cost=128, parallelism=1).hash(PASSWORD)
    await connection.execute("UPDATE users SET password_hash = $1", old)
    await asking.told(401, "login", {"email": EMAIL, "password": "wrong"})
    assert await connection.fetchval("SELECT password_hash FROM users") == old
    await asking.told(200, "login", {"email": EMAIL, "password": PASSWORD})
    renewed = await connection.fetchval("SELECT password_hash FROM users")
    actor = await connection.fetchval("SELECT actor_kind FROM audit_log WHERE action = 'user.updated' ORDER BY id DESC")
    assert actor == "user"
    await connection.close()
    assert extract_parameters(renewed).memory_cost == 64
    await asking.told(200, "login", {"email": EMAIL, "password": PASSWORD})


async def test_a_body_that_breaks_rules_is_told_all_of_them(asking: Managing) -> None:
    told = await asking.told(422, "login", {"email": 7, "extra": PASSWORD})
    assert told["error"] == "validation_error"
    errors = {error["field"]: error["message"] for error in told["details"]["errors"]}
    assert errors == {
        "email": "must be a string",
        "password": "is required",
        "extra": "is not a field that can be set here",
    }


async def test_a_password_over_1_kb_is_not_hashed(asking: Managing) -> None:
    told = await asking.told(422, "login", {"email": EMAIL, "password": "a" * 1025})
    assert told["details"]["errors"][0]["field"] == "password"


async def test_nothing_of_the_password_is_logged_or_repeated(
    asking: Managing, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in ({"email": EMAIL, "password": "hunter2"}, {"email": ["hunter2"], "password": ["hunter2"]}):
        answer = await asking.ask("login", value)
        assert b"hunter2" not in answer.body
    printed = capsys.readouterr()
    assert "hunter2" not in printed.out + printed.err


@pytest.mark.timeout(30)
async def test_more_logins_than_may_wait_are_turned_away_with_503(postgres_dsn: str) -> None:
    cost = {"time_cost": 2, "memory_kib": 16_384, "parallelism": 1}
    async with managing(postgres_dsn, auth={"password_hash": cost}) as asking:
        everybody = THREADS + WAITING_MAX + 20
        body = {"email": "nobody@example.com", "password": "x"}
        answers = await asyncio.gather(
            *(asking.ask("login", body, address=f"192.0.2.{number}") for number in range(everybody))
        )
    refused = [answer for answer in answers if answer.status == 503]
    assert {answer.status for answer in answers} == {401, 503}
    assert len(refused) <= 20
    assert json.loads(refused[0].body)["error"] == "overloaded"
    assert dict(refused[0].headers)["Retry-After"] == "1"


@pytest.mark.timeout(30)
async def test_without_postgres_it_is_503_within_a_second(own_postgres: EmbeddedPostgres) -> None:
    async with managing(own_postgres.dsn) as asking:
        await asking.user(EMAIL)
        await own_postgres.stop()
        for _ in range(3):
            begun = perf_counter()
            answer = await asking.ask("login", {"email": EMAIL, "password": PASSWORD})
            assert perf_counter() - begun < 1.3
            assert (answer.status, answer.outcome) == (503, "service_unavailable")
            assert dict(answer.headers)["Retry-After"] == "1"


@pytest.mark.timeout(60)
async def test_unknown_wrong_and_disabled_take_the_same_time(postgres_dsn: str) -> None:
    auth = {
        "password_hash": {"time_cost": 2, "memory_kib": 16_384, "parallelism": 1},
        "login_throttle": {"pair_failures_max": 1000, "address_failures_max": 1000},
    }
    async with managing(postgres_dsn, auth=auth) as asking:
        dear = PasswordHasher(time_cost=2, memory_cost=16_384, parallelism=1).hash(PASSWORD)
        for email in (EMAIL, "disabled@example.com"):
            await asking.user(email)
        await execute(postgres_dsn, f"UPDATE users SET password_hash = '{dear}', disabled = email LIKE 'disabled%'")
        pairs = [(EMAIL, "wrong"), ("nobody@example.com", PASSWORD), ("disabled@example.com", PASSWORD)]

        async def seconds(email: str, password: str) -> float:
            begun = perf_counter()
            await asking.told(401, "login", {"email": email, "password": password})
            return perf_counter() - begun

        # In turns, so that what else the machine does is shared by all.
        rounds = [[await seconds(*pair) for pair in pairs] for _ in range(15)]
    medians = [statistics.median(times) for times in zip(*rounds, strict=True)]
    assert max(medians) < 1.6 * min(medians)


@pytest.mark.timeout(60)
async def test_the_event_loop_goes_on_while_many_log_in(postgres_dsn: str) -> None:
    cost = {"time_cost": 3, "memory_kib": 32_768, "parallelism": 1}
    async with managing(postgres_dsn, auth={"password_hash": cost}) as asking:
        logins = asyncio.gather(
            *(asking.ask("login", {"email": EMAIL, "password": "x"}, address=f"192.0.2.{n}") for n in range(10))
        )
        begun = perf_counter()
        turns = 0
        while not logins.done():
            await asyncio.sleep(0.005)
            turns += 1
        lasted = perf_counter() - begun
    # Threads hash on cores that others use as well; a loop that hashed itself would turn once a login.
    assert turns > 30
    assert lasted / turns < 0.15
    assert {answer.status for answer in logins.result()} == {401}
