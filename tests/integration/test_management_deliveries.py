"""Deliveries as the API and the commands show them: whose they are, what is told of them, and sending them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.adapters.postgres.webhook_events import store_webhook_events
from gateway.core.webhook_events import WebhookEvent, encode, json_data
from tests.commands import Commands
from tests.integration.managing import Managing, database_at, fields_of

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.adapters.postgres.connection import Connection

AT = "2026-11-24T12:00:00.123Z"
KEY = {"name": "Told", "scopes": ["WEBHOOKS"], "webhookUrl": "https://receiver.example/hook"}


async def tell(connection: Connection, key_id: str, *ids: str) -> None:
    """Tell the account of a key of events, as the shipper of the journal does."""
    account_id = await connection.fetchval("SELECT account_id FROM api_keys WHERE id = $1", key_id)
    events = [encode(WebhookEvent(one, AT, account_id, "budget.created", json_data({}))) for one in ids]
    assert await store_webhook_events(connection, events) == 0


async def told_key(asking: Managing, *ids: str) -> str:
    """Make a key that is told of events."""
    made = await asking.told(201, "keys.create", KEY)
    async with asking.database.connection() as connection:
        await tell(connection, made["id"], *ids)
    return str(made["id"])


async def deliveries(asking: Managing, key_id: str, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await asking.told(200, "keys.deliveries", key_id=key_id, query=query))["data"]
    return found


async def bury(asking: Managing) -> None:
    async with asking.database.connection() as connection:
        await connection.execute("UPDATE webhook_deliveries SET status = 'DEAD', attempts = 8, finished_at = now()")


async def test_deliveries_are_listed_newest_first_by_page_and_status(ada: Managing) -> None:
    key_id = await told_key(ada, "e1", "e2", "e3")
    told = await ada.told(200, "keys.deliveries", key_id=key_id, query="?limit=2")
    assert [delivery["eventId"] for delivery in told["data"]] == ["e3", "e2"]
    assert told["pagination"] == {"page": 1, "limit": 2, "total": 3, "hasMore": True}
    shown = told["data"][0]
    assert shown["id"].startswith("delivery_")
    assert (shown["event"], shown["timestamp"], shown["status"]) == ("budget.created", AT, "PENDING")
    assert (shown["attempts"], shown["history"], shown["finishedAt"]) == (0, [], None)
    assert shown["nextAttemptAt"] is not None
    assert await deliveries(ada, key_id, "?status=DELIVERED") == []
    assert len(await deliveries(ada, key_id, "?status=PENDING")) == 3
    refused = await ada.told(422, "keys.deliveries", key_id=key_id, query="?status=pending&page=0")
    assert fields_of(refused) == {"status", "page"}


async def test_a_dead_letter_is_sent_again_when_its_owner_asks(ada: Managing) -> None:
    key_id = await told_key(ada, "e1")
    await bury(ada)
    (dead,) = await deliveries(ada, key_id)
    assert (dead["status"], dead["nextAttemptAt"]) == ("DEAD", None)
    again = await ada.told(202, "keys.redeliver", key_id=key_id, below=("deliveries", dead["id"], "redeliver"))
    assert (again["id"], again["status"], again["attempts"], again["finishedAt"]) == (dead["id"], "PENDING", 0, None)


async def test_what_is_anothers_or_nobodys_is_404(nobody: Managing, ada: Managing) -> None:
    key_id = await told_key(ada, "e1")
    (delivery,) = await deliveries(ada, key_id)
    eve = await nobody.logged_in("eve@example.com")
    own = await told_key(eve, "e1")
    below = ("deliveries", delivery["id"], "redeliver")
    await eve.told(404, "keys.deliveries", key_id=key_id)
    await eve.told(404, "keys.redeliver", key_id=key_id, below=below)
    await eve.told(404, "keys.redeliver", key_id=own, below=below)
    for unknown in ("delivery_0", "\0", "x" * 500, "ä"):
        await ada.told(404, "keys.redeliver", key_id=key_id, below=("deliveries", unknown, "redeliver"))
    for name in ("keys.deliveries", "keys.redeliver"):
        await nobody.told(401, name, key_id=key_id, below=below)
    root = await nobody.logged_in("root@example.com", "admin")
    assert len(await deliveries(root, key_id)) == 1
    await root.told(202, "keys.redeliver", key_id=key_id, below=below)
    assert (await ada.ask("keys.delete", key_id=key_id)).status == 204
    await ada.told(404, "keys.deliveries", key_id=key_id)


async def test_an_owner_chooses_events_and_pauses(ada: Managing) -> None:
    made = await ada.told(201, "keys.create", KEY | {"webhookEvents": ["budget.created", "budget.created"]})
    key_id = made["id"]
    shown = await ada.told(200, "keys.get", key_id=key_id)
    assert (shown["webhookEvents"], shown["webhookStatus"]) == (["budget.created"], "ACTIVE")
    changed = await ada.told(200, "keys.update", {"webhookEvents": None, "webhookStatus": "PAUSED"}, key_id=key_id)
    assert (changed["webhookEvents"], changed["webhookStatus"]) == (None, "PAUSED")
    (entry, _) = (await ada.told(200, "keys.audit", key_id=key_id))["data"]
    assert {change["field"] for change in entry["changes"]} == {"webhookEvents", "webhookStatus"}
    wrong: dict[str, Any] = {"webhookStatus": "DISABLED", "webhookEvents": []}
    assert fields_of(await ada.told(422, "keys.update", wrong, key_id=key_id)) == {*wrong}
    assert fields_of(await ada.told(422, "keys.create", KEY | {"webhookEvents": ["Budget"]})) == {"webhookEvents.0"}
    without = await ada.told(201, "keys.create", {"name": "None", "scopes": ["WEBHOOKS"]})
    assert (await ada.told(200, "keys.get", key_id=without["id"]))["webhookStatus"] is None


@pytest.mark.timeout(60)
async def test_commands_list_deliveries_and_have_them_made_again(tmp_path: Path, postgres_dsn: str) -> None:
    terminal = Commands(tmp_path, postgres_dsn, {"LEGACY": "true"})
    await terminal.right("accounts", "create", "Acme")
    made = await terminal.told(
        *("keys", "create", "--name", "Shop", "--scope", "READ", "--webhook-url", KEY["webhookUrl"]),
        *("--webhook-event", "budget.created"),
    )
    async with database_at(postgres_dsn) as database, database.connection(10) as connection:
        await connection.execute("UPDATE api_keys SET scopes = '{WEBHOOKS}'")
        await tell(connection, made["id"], "e1", "e2")
        await connection.execute("UPDATE webhook_deliveries SET status = 'DEAD'")
    told = await terminal.told("webhooks", "list", "--key", made["id"], "--status", "DEAD")
    assert [(delivery["eventId"], delivery["keyId"]) for delivery in told["data"]] == [
        ("e2", made["id"]),
        ("e1", made["id"]),
    ]
    first = told["data"][0]["id"]
    assert first in await terminal.right("webhooks", "list")
    assert (await terminal.told("webhooks", "redeliver", first)) == {"redelivered": [first]}
    assert "1 deliveries" in await terminal.right("webhooks", "redeliver", "--dead-of", made["id"])
    assert (await terminal.told("webhooks", "list", "--status", "DEAD"))["data"] == []
    paused = await terminal.told(
        "keys", "update", made["id"], "--webhook-status", "PAUSED", "--clear", "webhook-events"
    )
    assert (paused["webhookStatus"], paused["webhookEvents"]) == ("PAUSED", None)
    assert "no delivery nothing" in await terminal.wrong("webhooks", "redeliver", "nothing")
    assert (await terminal.run("webhooks", "redeliver")).exit_code == 2
