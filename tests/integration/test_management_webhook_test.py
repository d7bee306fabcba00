"""The webhook test: 200 for a key without URL, as the SDK's connection test expects, and no secret in the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.core.decision import Principal
from tests.integration.managing import Managing, managing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.embedded.postgres import EmbeddedPostgres

BODY = {"event": "budget.created", "data": {"id": 1}}
KEY = {"name": "Webhooks", "scopes": ["WEBHOOKS"]}


@pytest.fixture
async def ada(postgres_dsn: str) -> AsyncIterator[Managing]:
    async with managing(postgres_dsn) as asking:
        yield await asking.logged_in("ada@example.com")


async def principal_of(asking: Managing, body: dict[str, Any]) -> Principal:
    made = await asking.told(201, "keys.create", body)
    async with asking.database.connection() as connection:
        account_id = await connection.fetchval("SELECT account_id FROM api_keys WHERE id = $1", made["id"])
    return Principal(made["id"], account_id, ("WEBHOOKS",), made["keyPrefix"])


async def test_a_key_without_url_succeeds_and_is_told_that_nothing_was_sent(ada: Managing) -> None:
    principal = await principal_of(ada, KEY)
    told = await ada.told(200, "webhooks.test", BODY, principal=principal)
    assert set(told) == {"data"}
    data = told["data"]
    assert data["success"] is True
    assert "no webhookUrl" in data["message"]
    assert data["apiKey"] == principal.prefix
    assert data["deliveryId"] is None
    assert data["timestamp"] == "2027-01-15T08:00:00.000Z"


async def test_a_key_with_url_is_told_honestly_that_nothing_was_sent(ada: Managing) -> None:
    principal = await principal_of(ada, {**KEY, "webhookUrl": "https://a.example/"})
    data = (await ada.told(200, "webhooks.test", BODY, principal=principal))["data"]
    assert data["deliveryId"] is None
    assert "not delivered by this version" in data["message"]


async def test_any_name_of_an_event_will_do(ada: Managing) -> None:
    principal = await principal_of(ada, KEY)
    await ada.told(200, "webhooks.test", {"event": "sdk.connection_test", "data": {}}, principal=principal)


BROKEN: list[tuple[Any, str]] = [
    ({"event": "a"}, "data"),
    ({"data": {}}, "event"),
    ({"event": "", "data": {}}, "event"),
    ({"event": "a" * 101, "data": {}}, "event"),
    ({"event": 1, "data": {}}, "event"),
    ({"event": "a", "data": []}, "data"),
    ({"event": "a", "data": None}, "data"),
    ({"event": "a", "data": {}, "url": "https://a.example/"}, "url"),
    ([], ""),
]


async def test_a_body_that_breaks_a_rule_is_422(ada: Managing) -> None:
    principal = Principal("api_key_1", "account_1", ("WEBHOOKS",), "bk_live_abcd")
    for body, field in BROKEN:
        told = await ada.told(422, "webhooks.test", body, principal=principal)
        assert [error["field"] for error in told["details"]["errors"]] == [field], body


@pytest.mark.timeout(30)
async def test_without_postgres_it_is_503(own_postgres: EmbeddedPostgres) -> None:
    async with managing(own_postgres.dsn) as asking:
        ada = await asking.logged_in("ada@example.com")
        principal = await principal_of(ada, KEY)
        await own_postgres.stop()
        await ada.told(503, "webhooks.test", BODY, principal=principal)
