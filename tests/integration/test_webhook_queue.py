"""The queue of webhook deliveries on a real Postgres: who takes what, and what becomes of failures."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from gateway.adapters.postgres.webhook_deliveries import list_deliveries, redeliver
from gateway.adapters.postgres.webhook_queue import Result
from gateway.core.deliveries import DeliveryStatus, Judgement, WebhookStatus
from gateway.core.webhooks import Attempt, Failure
from tests.integration.outbox import AT

if TYPE_CHECKING:
    from gateway.adapters.postgres.webhook_queue import Batch
    from tests.integration.outbox import Outbox

DAY_S = 86_400.0
TAKEN, FAILED, GONE = Attempt(204, 7, None), Attempt(500, 7, Failure.STATUS), Attempt(410, 7, Failure.STATUS)
DELIVERED, DEAD = Judgement(DeliveryStatus.DELIVERED), Judgement(DeliveryStatus.DEAD)
LATER, AT_ONCE = Judgement(DeliveryStatus.PENDING, 3600), Judgement(DeliveryStatus.PENDING, 0)


def results(batch: Batch | None, attempt: Attempt, judgement: Judgement) -> list[Result]:
    assert batch is not None
    return [Result(delivery.id, AT, attempt, judgement) for delivery in batch.deliveries]


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
    for judgement in (AT_ONCE, LATER):
        assert await queue.take(8, 8)
        batch = await queue.next(key_id, 4)
        assert await queue.record(key_id, results(batch, FAILED, judgement), DAY_S) is WebhookStatus.ACTIVE
        assert (await queue.next(key_id, 4) is None) is (judgement is LATER)
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

    async def attempt(attempt: Attempt, judgement: Judgement) -> WebhookStatus:
        batch = await queue.next(key_id, 4)
        status = await queue.record(key_id, results(batch, attempt, judgement), DAY_S)
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
