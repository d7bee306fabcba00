"""Keys after they are made: listed, read, changed, rotated, deleted, and by whom."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.adapters.postgres.key_source import PostgresKeySource
from gateway.core.credentials import digest
from gateway.core.webhook_secrets import read_secret
from tests.integration.managing import KEY_CALLS, PAGE_EXAMPLE, SMALL, Managing, fields_of, managing

if TYPE_CHECKING:
    from gateway.embedded.postgres import EmbeddedPostgres


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
    assert set(told) - set(made) == {"updatedAt", "lastUsedAt", "webhookEvents", "webhookStatus"}
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
        for call in KEY_CALLS:
            answer = await ada.ask(call, SMALL if call == "keys.create" else {}, key_id=made["id"])
            assert (answer.status, answer.outcome) == (503, "service_unavailable"), call
            assert dict(answer.headers)["Retry-After"] == "1"
            assert "postgres" not in json.loads(answer.body)["message"].lower()
