"""The outbox of webhook events on a real Postgres: who is told, and that nobody is told twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.adapters.postgres.events import PostgresUsageSink
from gateway.adapters.postgres.webhook_deliveries import look_after_deliveries
from gateway.core.webhook_events import WebhookEvent, encode, json_data
from tests.integration.outbox import AT

if TYPE_CHECKING:
    from tests.integration.outbox import Outbox


async def test_an_event_goes_to_every_key_that_may_and_wants_to_be_told(outbox: Outbox) -> None:
    told = [await outbox.key(), await outbox.key(scopes=("READ_BUDGETS", "WEBHOOKS"))]
    told.append(await outbox.key(webhook_events=("budget.created", "budget.deleted")))
    passed_over = [
        await outbox.key(scopes=("READ_BUDGETS",)),
        await outbox.key(webhook_url=None),
        await outbox.key(webhook_events=("budget.deleted",)),
    ]
    for change in ({"status": "SUSPENDED"}, {"status": "REVOKED"}):
        passed_over.append(await outbox.key())
        await outbox.change(passed_over[-1], **change)
    for statement in ("SET expires_at = now()", "SET deleted_at = now()"):
        passed_over.append(await outbox.key())
        await outbox.execute(f"UPDATE api_keys {statement} WHERE id = $1", passed_over[-1])
    await outbox.tell("e1")
    assert [await outbox.told(key_id) for key_id in told] == [["e1"]] * 3
    assert [await outbox.told(key_id) for key_id in passed_over] == [[]] * len(passed_over)


async def test_an_event_that_nobody_is_told_of_is_not_kept(outbox: Outbox) -> None:
    key_id = await outbox.key()
    await outbox.tell("e1", account_id="account_of_nobody")
    await outbox.tell("e2")
    assert await outbox.told(key_id) == ["e2"]
    assert await outbox.fetch("SELECT count(*) FROM webhook_events") == 1


async def test_an_event_that_comes_twice_is_told_once_whichever_batch_it_is_in(outbox: Outbox) -> None:
    key_id = await outbox.key()
    await outbox.tell("e1", "e1", "e2")
    await outbox.tell("e2", "e3")
    assert await outbox.told(key_id) == ["e1", "e2", "e3"]


async def test_usage_and_webhook_events_of_one_batch_are_stored_together(outbox: Outbox) -> None:
    await outbox.key()
    await outbox.tell("e1")
    assert await outbox.fetch("SELECT count(*) FROM usage_events") == 1
    assert await outbox.fetch("SELECT position FROM journal_offsets") == 1


async def test_a_line_that_is_no_event_is_refused_and_holds_up_nobody(outbox: Outbox) -> None:
    key_id = await outbox.key()
    sink = PostgresUsageSink(outbox.database)
    good = encode(WebhookEvent("e1", AT, outbox.account_id, "budget.created", json_data({})))
    bad = [b'{"kind":"webhook","id":1}', b'{"kind":"webhook",\xff', good.replace(AT.encode(), b"yesterday")]
    assert await sink.write("other.journal", 0, 10, [*bad, good]) == 10
    assert sink.refused == len(bad)
    assert await outbox.told(key_id) == ["e1"]


async def test_old_events_go_with_their_deliveries_and_the_rest_is_counted(outbox: Outbox) -> None:
    key_id = await outbox.key()
    await outbox.tell("old")
    await outbox.execute("UPDATE webhook_events SET created_at = now() - interval '30 days'")
    await outbox.tell("new")
    before = await outbox.fetch("SELECT now() - interval '29 days'")
    figures = await look_after_deliveries(outbox.database, before)
    assert (figures.pending, figures.stopped, figures.deleted) == (1, 0, 1)
    assert 0 < figures.late_s < 30
    assert await outbox.told(key_id) == ["new"]
