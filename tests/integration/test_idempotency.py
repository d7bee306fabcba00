"""Idempotency-Key: a repeated create or rotate is done once and answered as before (contract section 3)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from gateway.adapters.postgres.idempotency import BATCH, expire
from gateway.embedded.polling import until
from gateway.jobs.expire_idempotency import expire_idempotency
from tests.integration.managing import PAGE_EXAMPLE, SMALL, Managing, fields_of, managing
from tests.unit.management.asking import NOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.adapters.postgres.connection import Connection
    from gateway.core.answers import Answer

KEY = {"Idempotency-Key": "4f1c6b0e-6f3f-4d0c-9f8e-0d6c5b4a3f2e"}


@pytest.fixture
async def connection(postgres_dsn: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(postgres_dsn)
    yield connection
    await connection.close()


async def number_of_keys(asking: Managing) -> int:
    total: int = (await asking.told(200, "keys.list"))["pagination"]["total"]
    return total


def replayed(answer: Answer) -> bool:
    return ("Idempotency-Replayed", "true") in answer.headers


async def test_a_repeated_create_gives_the_same_answer_and_one_key(ada: Managing) -> None:
    first = await ada.ask("keys.create", PAGE_EXAMPLE, headers=KEY)
    second = await ada.ask("keys.create", PAGE_EXAMPLE, headers=KEY)
    assert (first.status, first.body) == (second.status, second.body) == (201, first.body)
    assert (replayed(first), replayed(second)) == (False, True)
    assert dict(second.headers)["Content-Type"] == dict(first.headers)["Content-Type"]
    assert await number_of_keys(ada) == 1


async def test_a_repeated_rotate_gives_the_same_secret_and_turns_once(ada: Managing) -> None:
    made = await ada.told(201, "keys.create", SMALL)
    first = await ada.told(200, "keys.rotate", {"graceSeconds": 60}, key_id=made["id"], headers=KEY)
    assert await ada.told(200, "keys.rotate", {"graceSeconds": 60}, key_id=made["id"], headers=KEY) == first
    log = await ada.told(200, "keys.audit", key_id=made["id"])
    assert [entry["action"] for entry in log["data"]] == ["key.rotated", "key.created"]


async def test_spacing_and_order_of_members_make_no_other_request(ada: Managing) -> None:
    first = await ada.told(201, "keys.create", b'{"name":"A","scopes":["READ_BUDGETS"]}', headers=KEY)
    assert await ada.told(201, "keys.create", b'{ "scopes": ["READ_BUDGETS"], "name": "A" }', headers=KEY) == first
    rotated = await ada.told(200, "keys.rotate", key_id=first["id"], headers=KEY)
    assert await ada.told(200, "keys.rotate", {}, key_id=first["id"], headers=KEY) == rotated


async def test_the_same_key_with_another_request_is_422(ada: Managing) -> None:
    first = await ada.told(201, "keys.create", SMALL, headers=KEY)
    other = await ada.told(201, "keys.create", SMALL)
    assert fields_of(await ada.told(422, "keys.create", {**SMALL, "name": "B"}, headers=KEY)) == {"Idempotency-Key"}
    await ada.told(200, "keys.rotate", key_id=first["id"], headers=KEY)
    for key_id, body in ((other["id"], None), (first["id"], {"graceSeconds": 1})):
        told = await ada.told(422, "keys.rotate", body, key_id=key_id, headers=KEY)
        assert fields_of(told) == {"Idempotency-Key"}
    assert await number_of_keys(ada) == 2


async def test_after_ten_minutes_a_repetition_is_409_with_the_id(ada: Managing, connection: Connection) -> None:
    made = await ada.told(201, "keys.create", SMALL, headers=KEY)
    await connection.execute("UPDATE idempotency_records SET created_at = now() - interval '9 minutes 50 seconds'")
    assert await ada.told(201, "keys.create", SMALL, headers=KEY) == made
    await connection.execute("UPDATE idempotency_records SET created_at = now() - interval '10 minutes 1 second'")
    told = await ada.told(409, "keys.create", SMALL, headers=KEY)
    assert (told["error"], told["details"]) == ("conflict", {"id": made["id"]})
    assert made["id"] in told["message"]
    assert await number_of_keys(ada) == 1


async def test_a_request_that_failed_can_be_repeated_as_if_it_were_new(ada: Managing, connection: Connection) -> None:
    await ada.told(422, "keys.create", {"name": ""}, headers=KEY)
    await ada.told(400, "keys.create", b"{", headers=KEY)
    await ada.told(404, "keys.rotate", key_id="api_key_none", headers=KEY)
    assert await connection.fetchval("SELECT count(*) FROM idempotency_records") == 0
    answer = await ada.ask("keys.create", SMALL, headers=KEY)
    assert (answer.status, replayed(answer)) == (201, False)


async def test_a_repetition_is_answered_though_its_expiry_has_passed_since(ada: Managing) -> None:
    body = {**SMALL, "expiresAt": "2027-01-15T08:00:01Z"}
    made = await ada.told(201, "keys.create", body, headers=KEY, now=NOW)
    assert await ada.told(201, "keys.create", body, headers=KEY, now=NOW + 60) == made


async def test_requests_at_the_same_time_make_one_key(ada: Managing) -> None:
    answers = await asyncio.gather(*(ada.ask("keys.create", SMALL, headers=KEY) for _ in range(8)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body for answer in answers}) == 1
    assert sorted(replayed(answer) for answer in answers) == [False, *[True] * 7]
    assert await number_of_keys(ada) == 1


async def test_a_request_that_takes_too_long_elsewhere_is_409_with_retry_after(
    ada: Managing, connection: Connection
) -> None:
    scope = f"account:{await connection.fetchval('SELECT id FROM accounts')}"
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(
        "INSERT INTO idempotency_records (scope, operation, idempotency_key) VALUES ($1, 'keys.create', $2)",
        *(scope, KEY["Idempotency-Key"]),
    )
    answer = await ada.ask("keys.create", SMALL, headers=KEY)
    assert (answer.status, dict(answer.headers)["Retry-After"]) == (409, "1")
    assert await number_of_keys(ada) == 0
    await transaction.rollback()
    await ada.told(201, "keys.create", SMALL, headers=KEY)


@pytest.mark.parametrize("key", ["", " " * 3, "a" * 256, "caf\u00e9", "a\tb", "a\x00b", "\U0001f511"])
async def test_a_key_that_cannot_be_one_is_422(ada: Managing, key: str) -> None:
    if not key.strip():
        key = key.strip()  # As the proxy hands values over.
    told = await ada.told(422, "keys.create", SMALL, headers={"Idempotency-Key": key})
    assert fields_of(told) == {"Idempotency-Key"}
    assert await number_of_keys(ada) == 0


async def test_the_longest_key_is_255_characters(ada: Managing) -> None:
    headers = {"Idempotency-Key": "~" * 254 + "!"}
    assert await ada.told(201, "keys.create", SMALL, headers=headers) == await ada.told(
        201, "keys.create", SMALL, headers=headers
    )


async def test_nothing_secret_is_kept_in_clear(ada: Managing, connection: Connection) -> None:
    made = await ada.told(201, "keys.create", {**PAGE_EXAMPLE, "webhookSecret": "a secret of my own"}, headers=KEY)
    (row,) = await connection.fetch("SELECT * FROM idempotency_records")
    assert made["key"].encode() not in row["answer"]
    assert b"webhookSecret" not in row["answer"]
    assert made["id"] == row["key_id"]


async def test_the_same_key_of_another_account_is_another_key(nobody: Managing, ada: Managing) -> None:
    bob = await nobody.logged_in("bob@example.com")
    hers = await ada.told(201, "keys.create", SMALL, headers=KEY)
    his = await bob.ask("keys.create", SMALL, headers=KEY)
    assert not replayed(his)
    assert hers["key"].encode() not in his.body
    assert hers["id"].encode() not in his.body


async def test_what_an_admin_was_answered_is_not_for_the_members_of_the_admins_account(
    nobody: Managing, ada: Managing
) -> None:
    hers = await ada.told(201, "keys.create", SMALL)
    account = await nobody.user("root@example.com", "admin")
    root = await nobody.as_user("root@example.com")
    rotated = await root.told(200, "keys.rotate", key_id=hers["id"], headers=KEY)
    await nobody.user("eve@example.com", account_id=account)
    eve = await nobody.as_user("eve@example.com")
    answer = await eve.ask("keys.rotate", key_id=hers["id"], headers=KEY)
    assert answer.status == 404
    assert rotated["key"].encode() not in answer.body


async def test_after_the_secret_key_was_replaced_a_repetition_is_409(postgres_dsn: str) -> None:
    async with managing(postgres_dsn) as before:
        ada = await before.logged_in("ada@example.com")
        made = await ada.told(201, "keys.create", SMALL, headers=KEY)
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute("DELETE FROM signing_keys")
    await connection.close()
    async with managing(postgres_dsn) as after:
        ada = await after.as_user("ada@example.com")
        assert (await ada.told(409, "keys.create", SMALL, headers=KEY))["details"] == {"id": made["id"]}


async def test_answers_are_forgotten_after_ten_minutes_and_records_after_thirty_days(
    ada: Managing, connection: Connection
) -> None:
    await ada.told(201, "keys.create", SMALL, headers=KEY)

    async def aged(age: str) -> list[Any]:
        await connection.execute("UPDATE idempotency_records SET created_at = now() - $1::text::interval", age)
        await expire(ada.database)
        rows = await connection.fetch("SELECT answer IS NULL AS forgotten, key_id FROM idempotency_records")
        return [(row["forgotten"], row["key_id"] is not None) for row in rows]

    assert await aged("9 minutes 50 seconds") == [(False, True)]
    assert await aged("10 minutes 1 second") == [(True, True)]
    assert await aged("29 days") == [(True, True)]
    assert await aged("30 days 1 second") == []


async def test_a_worker_forgets_by_itself_however_much_there_is(ada: Managing, connection: Connection) -> None:
    await connection.execute(
        "INSERT INTO idempotency_records (scope, operation, idempotency_key, answer, answer_key_id, created_at)"
        " SELECT 'account:1', 'keys.create', n, 'x', 'y', now() - interval '1 hour' FROM generate_series(1, $1) AS n",
        BATCH * 2 + 1,
    )
    job = asyncio.create_task(expire_idempotency(ada.database))

    async def forgotten() -> bool:
        left: int = await connection.fetchval("SELECT count(answer) FROM idempotency_records")
        return left == 0

    assert await until(forgotten, 5)
    job.cancel()


async def test_forgetting_outlives_a_database_that_refuses(ada: Managing, connection: Connection) -> None:
    await ada.told(201, "keys.create", SMALL, headers=KEY)
    await connection.execute("UPDATE idempotency_records SET created_at = now() - interval '1 hour'")
    await connection.execute("ALTER TABLE idempotency_records RENAME TO away")
    with capture_logs() as logged:
        job = asyncio.create_task(expire_idempotency(ada.database, 0.01))

        async def failed() -> bool:
            return [entry["event"] for entry in logged].count("idempotency records not expired") > 1

        assert await until(failed, 5)
    await connection.execute("ALTER TABLE away RENAME TO idempotency_records")

    async def forgotten() -> bool:
        left: int = await connection.fetchval("SELECT count(answer) FROM idempotency_records")
        return left == 0

    assert await until(forgotten, 5)
    job.cancel()
