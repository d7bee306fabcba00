"""Keys as their owners manage them: what the page promises, what is refused, and who sees whose."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from gateway.adapters.postgres.key_source import PostgresKeySource
from gateway.core.credentials import digest, has_our_checksum
from gateway.core.keys import KeyStatus
from gateway.management.webhook_secrets import read_secret
from tests.integration.managing import Managing, managing
from tests.unit.management.asking import NOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.embedded.postgres import EmbeddedPostgres

PAGE_EXAMPLE = {
    "name": "My E-commerce Integration",
    "description": "API key for Shopify integration",
    "scopes": ["READ_BUDGETS", "WRITE_BUDGETS"],
    "rateLimitPerHour": 1000,
    "allowedIps": ["192.168.1.100", "10.0.0.50"],
    "expiresAt": "2034-12-31T23:59:59Z",
    "webhookUrl": "https://myapp.com/webhooks/billoget",
}
CALLS = ("keys.create", "keys.list", "keys.get", "keys.update", "keys.delete", "keys.rotate")
SMALL = {"name": "Small", "scopes": ["READ_BUDGETS"]}


@pytest.fixture
async def nobody(postgres_dsn: str) -> AsyncIterator[Managing]:
    async with managing(postgres_dsn) as asking:
        yield asking


@pytest.fixture
async def ada(nobody: Managing) -> Managing:
    return await nobody.logged_in("ada@example.com")


def fields_of(told: Any) -> set[str]:
    return {error["field"] for error in told["details"]["errors"]}


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
    for name, authorization in itertools.product(CALLS, (None, "", "Basic YTpi", "Bearer", "Bearer x", "Bearer a.b.c")):
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


async def test_keys_are_listed_newest_first_and_page_by_page(ada: Managing) -> None:
    made = [await ada.told(201, "keys.create", {**SMALL, "name": f"Key {number}"}) for number in range(5)]
    newest = [key["id"] for key in reversed(made)]
    first = await ada.told(200, "keys.list", query="?page=1&limit=2")
    last = await ada.told(200, "keys.list", query="?page=3&limit=2")
    assert [key["id"] for key in first["data"] + last["data"]] == [*newest[:2], newest[4]]
    assert first["pagination"] == {"page": 1, "limit": 2, "total": 5, "hasMore": True}
    assert last["pagination"] == {"page": 3, "limit": 2, "total": 5, "hasMore": False}
    assert "key" not in first["data"][0]
    assert (await ada.told(200, "keys.list"))["pagination"]["limit"] == 20
    assert (await ada.told(200, "keys.list", query="?page=1000000000"))["data"] == []


async def test_a_list_is_narrowed_by_status_and_search(ada: Managing) -> None:
    shop = await ada.told(201, "keys.create", {**SMALL, "name": "The SHOP"})
    other = await ada.told(201, "keys.create", SMALL)
    await ada.told(200, "keys.update", {"status": "SUSPENDED"}, key_id=other["id"])

    async def found(query: str) -> list[str]:
        return [key["id"] for key in (await ada.told(200, "keys.list", query=query))["data"]]

    assert await found("?search=shop") == [shop["id"]]
    assert await found(f"?search={shop['keyPrefix']}") == [shop["id"]]
    assert await found("?search=%25") == []
    assert await found("?status=SUSPENDED") == [other["id"]]
    assert await found("?status=REVOKED") == []
    assert len(await found("?unknown=1&search=")) == 2


BROKEN_QUERIES = [
    ("?page=0", "page"),
    ("?page=-1", "page"),
    ("?page=x", "page"),
    ("?page=", "page"),
    ("?page=99999999999999999999", "page"),
    ("?page=1&page=2", "page"),
    ("?limit=0", "limit"),
    ("?limit=1.5", "limit"),
    ("?status=GONE", "status"),
    ("?search=%00", "search"),
    ("?" + "&".join(f"a{number}=1" for number in range(60)), ""),
]


async def test_a_query_that_breaks_a_rule_is_422(ada: Managing) -> None:
    for query, field in BROKEN_QUERIES:
        assert fields_of(await ada.told(422, "keys.list", query=query)) == {field}, query


async def test_a_limit_above_100_is_100(ada: Managing) -> None:
    assert (await ada.told(200, "keys.list", query="?limit=5000"))["pagination"]["limit"] == 100


async def test_a_key_is_read_without_anything_secret(ada: Managing) -> None:
    made = await ada.told(201, "keys.create", PAGE_EXAMPLE)
    told = await ada.told(200, "keys.get", key_id=made["id"])
    assert set(made) - set(told) == {"key", "webhookSecret"}
    assert set(told) - set(made) == {"updatedAt", "lastUsedAt"}
    assert told["lastUsedAt"] is None


async def test_a_change_touches_only_what_it_names(ada: Managing) -> None:
    made = await ada.told(201, "keys.create", PAGE_EXAMPLE)
    before = await ada.told(200, "keys.get", key_id=made["id"])
    change = {"name": "Updated Integration Name", "status": "SUSPENDED", "rateLimitPerHour": 2000}
    told = await ada.told(200, "keys.update", change, key_id=made["id"])
    assert {name for name in told if told[name] != before[name]} - {"updatedAt"} == set(change)
    assert {name: told[name] for name in change} == change
    cleared = {"description": None, "allowedIps": None, "expiresAt": None, "webhookUrl": None}
    told = await ada.told(200, "keys.update", cleared, key_id=made["id"])
    assert {name: told[name] for name in cleared} == cleared


async def test_an_empty_change_changes_nothing(ada: Managing) -> None:
    made = await ada.told(201, "keys.create", SMALL)
    before = await ada.told(200, "keys.get", key_id=made["id"])
    assert await ada.told(200, "keys.update", {}, key_id=made["id"]) == before


BROKEN_CHANGES: list[dict[str, Any]] = [
    {"name": None},
    {"scopes": None},
    {"status": "GONE"},
    {"status": None},
    {"id": "x"},
    {"key": "x"},
    {"createdAt": "2034-12-31T23:59:59Z"},
    {"keyPrefix": "x"},
    {"rateLimitPerHour": None},
]


async def test_a_change_that_breaks_a_rule_is_422(ada: Managing) -> None:
    made = await ada.told(201, "keys.create", SMALL)
    for change in BROKEN_CHANGES:
        assert fields_of(await ada.told(422, "keys.update", change, key_id=made["id"])) == set(change)


async def test_revoked_is_final(ada: Managing) -> None:
    made = await ada.told(201, "keys.create", SMALL)
    for status in ("SUSPENDED", "ACTIVE", "REVOKED", "REVOKED"):
        assert (await ada.told(200, "keys.update", {"status": status}, key_id=made["id"]))["status"] == status
    for call, body in (("keys.update", {"status": "ACTIVE", "name": "x"}), ("keys.rotate", None)):
        assert (await ada.told(409, call, body, key_id=made["id"]))["error"] == "conflict"
    told = await ada.told(200, "keys.get", key_id=made["id"])
    assert (told["status"], told["name"]) == ("REVOKED", "Small")


async def test_the_first_webhook_url_brings_a_secret_that_once(ada: Managing) -> None:
    made = await ada.told(201, "keys.create", SMALL)
    first = await ada.told(200, "keys.update", {"webhookUrl": "https://a.example/"}, key_id=made["id"])
    assert len(read_secret(first["webhookSecret"])) == 32
    second = await ada.told(200, "keys.update", {"webhookUrl": "https://b.example/"}, key_id=made["id"])
    assert "webhookSecret" not in second
    given = await ada.told(200, "keys.update", {"webhookSecret": "a secret of my own"}, key_id=made["id"])
    assert read_secret(given["webhookSecret"]) == b"a secret of my own"


async def test_a_deleted_key_is_gone_for_its_owner_and_refused_on_the_data_plane(ada: Managing) -> None:
    made = await ada.told(201, "keys.create", SMALL)
    answer = await ada.ask("keys.delete", key_id=made["id"])
    assert (answer.status, answer.body) == (204, b"")
    for call in ("keys.get", "keys.update", "keys.delete", "keys.rotate"):
        await ada.told(404, call, {}, key_id=made["id"])
    assert (await ada.told(200, "keys.list"))["data"] == []
    record = await PostgresKeySource(ada.database).find(digest(made["key"]))
    assert record is not None
    assert record.deleted


async def test_a_rotated_key_keeps_its_id_and_the_old_secret_for_the_grace_period(ada: Managing) -> None:
    made = await ada.told(201, "keys.create", PAGE_EXAMPLE)
    told = await ada.told(200, "keys.rotate", {"graceSeconds": 60}, key_id=made["id"])
    assert set(told) == set(made) - {"webhookSecret"}
    assert told["id"] == made["id"]
    assert told["key"] != made["key"]
    source = PostgresKeySource(ada.database)
    old, new = await source.find(digest(made["key"])), await source.find(digest(told["key"]))
    assert old is not None
    assert new is not None
    assert (old.id, new.id, new.retired_at) == (made["id"], made["id"], None)
    assert old.retired_at is not None
    await ada.told(200, "keys.rotate", key_id=made["id"])


async def test_a_grace_period_that_is_none_is_422(ada: Managing) -> None:
    made = await ada.told(201, "keys.create", SMALL)
    for grace in (-1, 1.5, "60", None, 2_592_001):
        told = await ada.told(422, "keys.rotate", {"graceSeconds": grace}, key_id=made["id"])
        assert fields_of(told) == {"graceSeconds"}, grace


async def test_another_accounts_key_looks_like_none_at_all(nobody: Managing, ada: Managing) -> None:
    made = await ada.told(201, "keys.create", SMALL)
    bob = await nobody.logged_in("bob@example.com")
    for call, body in (
        ("keys.get", None),
        ("keys.update", {"name": "Mine"}),
        ("keys.update", {"webhookUrl": "https://a.example/"}),
        ("keys.update", {}),
        ("keys.delete", None),
        ("keys.rotate", None),
    ):
        answers = [await bob.ask(call, body, key_id=key_id) for key_id in (made["id"], "api_key_none", "%00", "é")]
        assert {answer.status for answer in answers} == {404}
        assert len({answer.body for answer in answers}) == 1
    assert (await bob.told(200, "keys.list"))["pagination"]["total"] == 0
    told = await ada.told(200, "keys.get", key_id=made["id"])
    assert (told["name"], told["keyPrefix"], told["webhookUrl"]) == ("Small", made["keyPrefix"], None)


async def test_an_admin_sees_the_keys_of_all_accounts(nobody: Managing, ada: Managing) -> None:
    made = await ada.told(201, "keys.create", SMALL)
    root = await nobody.logged_in("root@example.com", "admin")
    assert (await root.told(200, "keys.list"))["pagination"]["total"] == 1
    assert (await root.told(200, "keys.update", {"status": "SUSPENDED"}, key_id=made["id"]))["status"] == "SUSPENDED"
    own = await root.told(201, "keys.create", SMALL)
    await ada.told(404, "keys.get", key_id=own["id"])


@pytest.mark.timeout(30)
async def test_without_postgres_every_call_is_503(own_postgres: EmbeddedPostgres) -> None:
    async with managing(own_postgres.dsn) as asking:
        ada = await asking.logged_in("ada@example.com")
        made = await ada.told(201, "keys.create", SMALL)
        await own_postgres.stop()
        for call in CALLS:
            answer = await ada.ask(call, SMALL if call == "keys.create" else {}, key_id=made["id"])
            assert (answer.status, answer.outcome) == (503, "service_unavailable"), call
            assert dict(answer.headers)["Retry-After"] == "1"
            assert "postgres" not in json.loads(answer.body)["message"].lower()
