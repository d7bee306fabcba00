"""The queue of webhook deliveries on a real Postgres: who is told, by whom, how often, and what becomes of failures."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.adapters.postgres.accounts import create_account
from gateway.adapters.postgres.events import PostgresUsageSink
from gateway.adapters.postgres.keys import NewKey, create_key, update_key
from gateway.adapters.postgres.pool import Database
from gateway.adapters.postgres.webhook_deliveries import list_deliveries, look_after_deliveries, redeliver
from gateway.adapters.postgres.webhook_queue import Result, WebhookQueue
from gateway.core.deliveries import DeliveryStatus, Outcome, WebhookStatus
from gateway.core.webhook_events import WebhookEvent, encode, json_data
from gateway.core.webhooks import Attempt, Failure
from tests.usage_events import event as usage_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.adapters.postgres.webhook_queue import Batch

JOURNAL = "worker-0-1.journal"
DAY_S = 86_400.0
AT = "2026-11-24T12:00:00.123Z"
TAKEN, FAILED, GONE = Attempt(204, 7, None), Attempt(500, 7, Failure.STATUS), Attempt(410, 7, Failure.STATUS)


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    async with Database(postgres_dsn) as database:
        yield database


class Outbox:
    """An account whose keys are told of events, and what brings events to it, as the shipper of the journal does."""

    def __init__(self, database: Database, account_id: str) -> None:
        self.database = database
        self.account_id = account_id
        self._sink = PostgresUsageSink(database)
        self._position = 0

    async def key(self, **options: Any) -> str:
        usual: dict[str, Any] = {
            "account_id": self.account_id,
            "name": "A receiver",
            "scopes": ("WEBHOOKS",),
            "webhook_url": "https://receiver.example/hook",
            "webhook_secret": b"sealed",
            "webhook_secret_key_id": "k",
        }
        async with self.database.connection() as connection:
            return (await create_key(connection, NewKey(**usual | options))).stored.id

    async def change(self, key_id: str, **changes: Any) -> None:
        async with self.database.connection() as connection:
            assert await update_key(connection, key_id, changes)

    async def tell(self, *ids: str, name: str = "budget.created", account_id: str = "") -> None:
        events = [
            encode(WebhookEvent(one, AT, account_id or self.account_id, name, json_data({"of": one}))) for one in ids
        ]
        end = self._position + 1
        assert await self._sink.write(JOURNAL, self._position, end, [usage_event(), *events]) == end
        assert self._sink.refused == 0
        self._position = end

    def queue(self, holder: str = "one") -> WebhookQueue:
        return WebhookQueue(self.database, holder, "WEBHOOKS")

    async def told(self, key_id: str) -> list[str]:
        """The ids of the events that a key is told of, first to last."""
        async with self.database.connection() as connection:
            page = await list_deliveries(connection, key_id, limit=100)
        return [delivery.event_id for delivery in reversed(page.deliveries)]

    async def statuses(self, key_id: str) -> list[str]:
        async with self.database.connection() as connection:
            return [d.status for d in reversed((await list_deliveries(connection, key_id, limit=100)).deliveries)]

    async def execute(self, statement: str, *arguments: Any) -> None:
        async with self.database.connection() as connection:
            await connection.execute(statement, *arguments)

    async def fetch(self, query: str, *arguments: Any) -> Any:
        async with self.database.connection() as connection:
            return await connection.fetchval(query, *arguments)


@pytest.fixture
async def outbox(database: Database) -> Outbox:
    async with database.connection() as connection:
        return Outbox(database, await create_account(connection, "Receivers"))


def results(batch: Batch | None, attempt: Attempt, outcome: Outcome) -> list[Result]:
    assert batch is not None
    return [Result(delivery.id, AT, attempt, outcome) for delivery in batch.deliveries]


DELIVERED, DEAD = Outcome(DeliveryStatus.DELIVERED), Outcome(DeliveryStatus.DEAD)
LATER, AT_ONCE = Outcome(DeliveryStatus.PENDING, 3600), Outcome(DeliveryStatus.PENDING, 0)


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


async def test_a_line_that_is_no_event_is_refused_and_holds_up_nobody(outbox: Outbox, database: Database) -> None:
    key_id = await outbox.key()
    sink = PostgresUsageSink(database)
    good = encode(WebhookEvent("e1", AT, outbox.account_id, "budget.created", json_data({})))
    bad = [b'{"kind":"webhook","id":1}', b'{"kind":"webhook",\xff', good.replace(AT.encode(), b"yesterday")]
    assert await sink.write("other.journal", 0, 10, [*bad, good]) == 10
    assert sink.refused == len(bad)
    assert await outbox.told(key_id) == ["e1"]


async def test_a_key_has_one_holder_and_its_events_come_in_their_order(outbox: Outbox) -> None:
    key_id = await outbox.key()
    await outbox.tell(*(f"e{number}" for number in range(5)))
    one, other = outbox.queue("one"), outbox.queue("other")
    both = await asyncio.gather(one.take(8, 8), other.take(8, 8))
    assert sorted(map(len, both)) == [0, 1]
    holder, idle = (one, other) if both[0] else (other, one)
    assert await idle.next(key_id, 3) is None, "only the holder sends"
    batch = await holder.next(key_id, 3)
    assert batch is not None
    assert [json.loads(delivery.data)["of"] for delivery in batch.deliveries] == ["e0", "e1", "e2"]
    assert batch.webhook.url == "https://receiver.example/hook"
    await holder.record(key_id, results(batch, TAKEN, DELIVERED), DAY_S)
    assert await outbox.statuses(key_id) == ["DELIVERED"] * 3 + ["PENDING"] * 2
    await holder.release(key_id)
    assert list(await idle.take(8, 8)) == [key_id]


async def test_what_a_dead_holder_had_comes_back_when_its_lease_has_run_out(outbox: Outbox) -> None:
    key_id = await outbox.key()
    await outbox.tell("e1")
    dead, heir = outbox.queue("dead"), outbox.queue("heir")
    assert await dead.take(8, 8)
    assert await heir.take(8, 8) == {}
    await dead.renew()
    await outbox.execute("UPDATE webhook_destinations SET leased_until = leased_until - interval '6 s'")
    assert await heir.take(8, 8) == {key_id: False}
    await dead.release(key_id)
    assert await outbox.fetch("SELECT holder FROM webhook_destinations") == "heir", (
        "whoever comes late releases nothing"
    )


async def test_failing_keys_take_their_share_and_no_more(outbox: Outbox) -> None:
    failing = {await outbox.key() for _ in range(4)}
    await outbox.tell("e1")
    queue = outbox.queue()
    for key_id in await queue.take(8, 8):
        await queue.record(key_id, results(await queue.next(key_id, 1), FAILED, AT_ONCE), DAY_S)
        await queue.release(key_id)
    healthy = await outbox.key(webhook_events=("customer.created",))
    await outbox.tell("e2", name="customer.created")
    taken = await queue.take(6, 2)
    assert taken.pop(healthy) is False
    assert len(taken) == 2
    assert set(taken) < failing
    assert all(taken.values())


async def test_a_failure_is_due_again_later_and_every_attempt_is_written_down(outbox: Outbox) -> None:
    key_id = await outbox.key()
    await outbox.tell("e1")
    queue = outbox.queue()
    for outcome in (AT_ONCE, LATER):
        assert await queue.take(8, 8)
        batch = await queue.next(key_id, 4)
        assert await queue.record(key_id, results(batch, FAILED, outcome), DAY_S) is WebhookStatus.ACTIVE
        assert (await queue.next(key_id, 4) is None) is (outcome is LATER)
        await queue.release(key_id)
    assert await queue.take(8, 8) == {}, "nothing is due"
    async with outbox.database.connection() as connection:
        (delivery,) = (await list_deliveries(connection, key_id)).deliveries
    assert (delivery.status, delivery.attempts) == ("PENDING", 2)
    assert delivery.history == [{"at": AT, "statusCode": 500, "durationMs": 7, "failure": "status"}] * 2


async def test_an_event_that_comes_while_its_key_is_released_is_not_forgotten(outbox: Outbox) -> None:
    key_id = await outbox.key()
    queue = outbox.queue()
    for number in range(20):
        await outbox.tell(f"e{number}")
        assert await queue.take(8, 8)
        await queue.record(key_id, results(await queue.next(key_id, 4), TAKEN, DELIVERED), DAY_S)
        await asyncio.gather(queue.release(key_id), outbox.tell(f"late{number}"))
        assert await queue.take(8, 8), "the late one is due"
        await queue.record(key_id, results(await queue.next(key_id, 4), TAKEN, DELIVERED), DAY_S)
        await queue.release(key_id)


async def test_a_receiver_that_is_gone_is_sent_nothing_until_its_owner_says_so(outbox: Outbox) -> None:
    key_id = await outbox.key()
    await outbox.tell("e1", "e2")
    queue = outbox.queue()
    await queue.take(8, 8)
    assert await queue.record(key_id, results(await queue.next(key_id, 1), GONE, DEAD), DAY_S) is WebhookStatus.DISABLED
    assert await queue.next(key_id, 4) is None
    await queue.release(key_id)
    await outbox.tell("e3")
    await queue.take(8, 8)
    assert await queue.next(key_id, 4) is None
    await queue.release(key_id)
    assert await queue.take(8, 8) == {}
    assert await outbox.statuses(key_id) == ["DEAD", "PENDING", "PENDING"]
    actor = await outbox.fetch("SELECT actor_id FROM audit_log WHERE subject_id = $1 ORDER BY id DESC LIMIT 1", key_id)
    assert actor == "webhook deliveries"
    await outbox.change(key_id, webhook_status="ACTIVE")
    assert await queue.take(8, 8) == {key_id: False}
    batch = await queue.next(key_id, 4)
    assert batch is not None
    assert [json.loads(delivery.data)["of"] for delivery in batch.deliveries] == ["e2", "e3"], "what has waited"


async def test_days_of_failure_pause_a_webhook_and_one_success_does_not_let_it_come_to_that(outbox: Outbox) -> None:
    key_id = await outbox.key()
    queue = outbox.queue()
    day_later = "UPDATE webhook_destinations SET failing_since = failing_since - interval '25 h'"

    async def attempt(attempt: Attempt, outcome: Outcome) -> WebhookStatus:
        batch = await queue.next(key_id, 4)
        status = await queue.record(key_id, results(batch, attempt, outcome), DAY_S)
        await outbox.execute(day_later)
        return status

    await outbox.tell("e1")
    await queue.take(8, 8)
    assert await attempt(FAILED, AT_ONCE) is WebhookStatus.ACTIVE
    assert await attempt(TAKEN, DELIVERED) is WebhookStatus.ACTIVE
    await outbox.tell("e2")
    assert await attempt(FAILED, AT_ONCE) is WebhookStatus.ACTIVE
    assert await attempt(FAILED, AT_ONCE) is WebhookStatus.PAUSED
    assert await outbox.fetch("SELECT webhook_status FROM api_keys") == "PAUSED"


async def test_a_suspended_key_gets_what_waited_when_it_is_active_again(outbox: Outbox) -> None:
    key_id = await outbox.key()
    await outbox.tell("e1")
    await outbox.change(key_id, status="SUSPENDED")
    queue = outbox.queue()
    await queue.take(8, 8)
    assert await queue.next(key_id, 4) is None
    await queue.release(key_id)
    assert await queue.take(8, 8) == {}
    await outbox.change(key_id, status="ACTIVE")
    assert await queue.take(8, 8)
    assert await queue.next(key_id, 4) is not None


async def test_a_dead_letter_can_be_sent_again_under_its_id(outbox: Outbox) -> None:
    key_id, other = await outbox.key(), await outbox.key()
    await outbox.tell("e1")
    queue = outbox.queue()
    await queue.take(8, 8)
    batch = await queue.next(key_id, 4)
    assert batch is not None
    await queue.record(key_id, results(batch, FAILED, DEAD), DAY_S)
    await queue.release(key_id)
    delivery_id = batch.deliveries[0].id
    async with outbox.database.connection() as connection:
        assert await redeliver(connection, [delivery_id], other) == [], "it is another key's"
        assert await redeliver(connection, [delivery_id], key_id) == [delivery_id]
    assert key_id in await queue.take(8, 8)
    again = await queue.next(key_id, 4)
    assert again is not None
    assert [(delivery.id, delivery.failed) for delivery in again.deliveries] == [(delivery_id, 0)]


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
