"""Keys as their owners make them: what the page promises, and what is refused."""

from __future__ import annotations

import itertools
from typing import Any

import asyncpg

from gateway.adapters.postgres.key_source import PostgresKeySource
from gateway.core.credentials import digest, has_our_checksum
from gateway.core.keys import KeyStatus
from gateway.core.webhook_secrets import read_secret
from tests.integration.managing import KEY_CALLS, PAGE_EXAMPLE, SMALL, Managing, fields_of, managing
from tests.unit.management.asking import NOW


async def test_the_example_of_the_page_makes_the_documented_key(ada: Managing) -> None:
    told = await ada.told(201, "keys.create", PAGE_EXAMPLE)
    assert {name: told[name] for name in PAGE_EXAMPLE if name != "expiresAt"} == {
        name: value for name, value in PAGE_EXAMPLE.items() if name != "expiresAt"
    }
    assert told["expiresAt"] == "2034-12-31T23:59:59.000Z"
    assert set(told) == {*PAGE_EXAMPLE, "id", "key", "keyPrefix", "status", "webhookSecret", "createdAt"}
    assert told["status"] == "ACTIVE"
    assert told["keyPrefix"] == told["key"][:12]
    assert told["key"].startswith("bk_live_")
    assert has_our_checksum(told["key"], ("bk_live_",))
    assert told["id"].startswith("api_key_")
    assert len(read_secret(told["webhookSecret"])) == 32


async def test_what_is_not_given_has_the_documented_default(ada: Managing) -> None:
    told = await ada.told(201, "keys.create", SMALL)
    assert (told["rateLimitPerHour"], told["description"], told["allowedIps"]) == (1000, None, None)
    assert (told["expiresAt"], told["webhookUrl"]) == (None, None)
    assert "webhookSecret" not in told


async def test_a_new_key_is_one_that_the_data_plane_finds(ada: Managing) -> None:
    told = await ada.told(201, "keys.create", PAGE_EXAMPLE)
    record = await PostgresKeySource(ada.database).find(digest(told["key"]))
    assert record is not None
    assert (record.id, record.status, record.rate_limit_per_hour) == (told["id"], KeyStatus.ACTIVE, 1000)
    assert record.scopes == {"READ_BUDGETS", "WRITE_BUDGETS"}
    assert record.allowed is not None
    assert "10.0.0.50" in record.allowed
    assert record.expires_at == 2_051_222_399.0


async def test_neither_key_nor_webhook_secret_is_stored_in_clear(ada: Managing, postgres_dsn: str) -> None:
    told = await ada.told(201, "keys.create", {**PAGE_EXAMPLE, "webhookSecret": "a secret of my own"})
    assert read_secret(told["webhookSecret"]) == b"a secret of my own"
    connection = await asyncpg.connect(postgres_dsn)
    rows = [*await connection.fetch("SELECT * FROM api_keys"), *await connection.fetch("SELECT * FROM key_secrets")]
    await connection.close()
    stored = repr([dict(row) for row in rows])
    assert told["key"] not in stored
    assert "a secret of my own" not in stored


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"name": "a" * 101}, "name"),
    ({"name": None}, "name"),
    ({"name": "a\0b"}, "name"),
    ({"scopes": []}, "scopes"),
    ({"scopes": "READ_BUDGETS"}, "scopes"),
    ({"scopes": ["NO_SUCH_SCOPE"]}, "scopes.0"),
    ({"scopes": ["READ_BUDGETS", 1]}, "scopes.1"),
    ({"description": 1}, "description"),
    ({"rateLimitPerHour": 0}, "rateLimitPerHour"),
    ({"rateLimitPerHour": 1_000_000_001}, "rateLimitPerHour"),
    ({"rateLimitPerHour": "1000"}, "rateLimitPerHour"),
    ({"rateLimitPerHour": 10.5}, "rateLimitPerHour"),
    ({"rateLimitPerHour": True}, "rateLimitPerHour"),
    ({"allowedIps": "10.0.0.1"}, "allowedIps"),
    ({"allowedIps": ["10.0.0.1", "10.0.0.256"]}, "allowedIps.1"),
    ({"allowedIps": ["010.0.0.1"]}, "allowedIps.0"),
    ({"allowedIps": ["fe80::1%eth0"]}, "allowedIps.0"),
    ({"expiresAt": "2001-01-01T00:00:00Z"}, "expiresAt"),
    ({"expiresAt": "2034-12-31T23:59:59"}, "expiresAt"),
    ({"expiresAt": "2034-12-31"}, "expiresAt"),
    ({"expiresAt": "9999-12-31T23:59:59-23:00"}, "expiresAt"),
    ({"expiresAt": "tomorrow"}, "expiresAt"),
    ({"expiresAt": 2_000_000_000}, "expiresAt"),
    ({"webhookUrl": "http://myapp.com/"}, "webhookUrl"),
    ({"webhookUrl": "https://127.0.0.1/"}, "webhookUrl"),
    ({"webhookUrl": "https://localhost/"}, "webhookUrl"),
    ({"webhookUrl": 1}, "webhookUrl"),
    ({"webhookSecret": "short"}, "webhookSecret"),
    ({"webhookSecret": 1}, "webhookSecret"),
    ({"status": "ACTIVE"}, "status"),
    ({"id": "api_key_1"}, "id"),
    ({"rate_limit_per_hour": 5}, "rate_limit_per_hour"),
]


async def test_a_field_that_breaks_its_rule_is_422(ada: Managing) -> None:
    for change, field in BROKEN:
        told = await ada.told(422, "keys.create", {**SMALL, **change})
        assert told["error"] == "validation_error"
        assert fields_of(told) == {field}, change


async def test_all_broken_rules_are_told_at_once(ada: Managing) -> None:
    told = await ada.told(422, "keys.create", {"rateLimitPerHour": 0, "allowedIps": ["x"], "other": 1})
    assert fields_of(told) == {"name", "scopes", "rateLimitPerHour", "allowedIps.0", "other"}


async def test_host_bits_under_a_mask_name_the_corrected_network(ada: Managing) -> None:
    told = await ada.told(422, "keys.create", {**SMALL, "allowedIps": ["203.0.113.7/24"]})
    assert "203.0.113.0/24" in told["details"]["errors"][0]["message"]


async def test_any_address_may_be_said_in_two_ways_and_is_returned_as_given(ada: Managing) -> None:
    for given in (None, [], ["2001:db8::/32", "::ffff:10.0.0.1", "10.0.0.0/8"]):
        told = await ada.told(201, "keys.create", {**SMALL, "allowedIps": given})
        assert told["allowedIps"] == given


async def test_an_expiry_is_kept_in_utc_to_the_millisecond(ada: Managing) -> None:
    told = await ada.told(201, "keys.create", {**SMALL, "expiresAt": "2034-12-31T23:59:59.987654+02:00"})
    assert told["expiresAt"] == "2034-12-31T21:59:59.987Z"


async def test_webhooks_may_stay_inside_in_development(postgres_dsn: str) -> None:
    async with managing(postgres_dsn, webhooks={"allow_private": True}) as asking:
        ada = await asking.logged_in("ada@example.com")
        await ada.told(201, "keys.create", {**SMALL, "webhookUrl": "http://127.0.0.1:9000/hook"})


async def test_without_a_login_token_every_call_is_401(nobody: Managing) -> None:
    for name, authorization in itertools.product(
        KEY_CALLS, (None, "", "Basic YTpi", "Bearer", "Bearer x", "Bearer a.b.c")
    ):
        headers = {} if authorization is None else {"Authorization": authorization}
        answer = await nobody.ask(name, SMALL, key_id="api_key_1", headers=headers)
        assert (answer.status, answer.outcome) == (401, "unauthorized"), (name, authorization)
        challenge = dict(answer.headers)["WWW-Authenticate"]
        assert challenge.startswith('Bearer realm="api"')
        assert ('error="invalid_token"' in challenge) is (authorization in {"Bearer x", "Bearer a.b.c"})


async def test_an_expired_token_is_401(ada: Managing) -> None:
    told = await ada.told(401, "keys.create", SMALL, now=NOW + 3600)
    assert told["error"] == "unauthorized"


async def test_the_scheme_is_read_whatever_its_capitals(ada: Managing) -> None:
    await ada.told(201, "keys.create", SMALL, headers={"Authorization": f"bEARER  {ada.token}"})
