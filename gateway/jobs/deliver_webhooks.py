"""Delivering webhooks: takes keys that have something due, and tells their receivers, each at its own pace.

An event is delivered at least once: what a worker had not written down when it died is sent again, under the same id.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Final

import structlog

from gateway.adapters.postgres.pool import DatabaseDown
from gateway.adapters.postgres.webhook_queue import LEASE_S, Result
from gateway.adapters.secrets.encryption import SecretUnreadable
from gateway.core.deliveries import DeliveryStatus, RetrySchedule, WebhookStatus, judge
from gateway.core.denials import iso_time
from gateway.core.webhooks import Attempt, Failure, webhook_message
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.adapters.postgres.sealed_secrets import StoredSecret
    from gateway.adapters.postgres.webhook_queue import Batch, DueDelivery, WebhookQueue
    from gateway.adapters.webhooks.sender import WebhookSender
    from gateway.settings.webhooks import Webhooks
    from gateway.telemetry.telemetry import Telemetry

LOOK_S: Final = 0.5
"""How often is looked for what is due."""
RENEW_S: Final = LEASE_S / 3
TURN_S: Final = 10.0
"""After so long a key with more to send goes to the end of the queue."""
DAY_S: Final = 86_400.0
RELEASE_S: Final = 1.0

_RESULTS: Final[Mapping[DeliveryStatus, str]] = {
    DeliveryStatus.DELIVERED: "delivered",
    DeliveryStatus.PENDING: "failed",
    DeliveryStatus.DEAD: "dead",
}

log = structlog.get_logger()


class WebhookDeliverer:
    """Delivers until cancelled, to some keys at a time; those that fail have half of the places at most."""

    def __init__(
        self,
        queue: WebhookQueue,
        sender: WebhookSender,
        secrets_of: Callable[[str, Sequence[StoredSecret]], Sequence[str]],
        telemetry: Telemetry,
        settings: Webhooks,
    ) -> None:
        """Take the collaborators; *secrets_of* decrypts what a key's deliveries are signed with."""
        self._queue = queue
        self._sender = sender
        self._secrets_of = secrets_of
        self._telemetry = telemetry
        self._settings = settings
        self._schedule = RetrySchedule(settings.attempts_max, settings.retry_first_s)
        self._turns: dict[asyncio.Task[None], bool] = {}
        self._renew_at = 0.0
        for result in _RESULTS.values():
            telemetry.add(metrics.WEBHOOK_ATTEMPTS, 0, result)  # What begins at one has not increased.

    async def run(self) -> None:
        """Look every LOOK_S, and as soon as a place is free again after all were taken."""
        try:
            while True:
                full = await self._look()
                if full:
                    await asyncio.wait(self._turns, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                else:
                    await asyncio.sleep(LOOK_S * random.uniform(0.8, 1.2))
        finally:
            for turn in self._turns:
                turn.cancel()
            await asyncio.gather(*self._turns, return_exceptions=True)

    async def _look(self) -> bool:
        """Take what there is room for, and say whether there is none left."""
        places = self._settings.destinations_max
        failing_max = places // 2 - sum(self._turns.values())
        healthy_max = places - len(self._turns) - max(failing_max, 0)
        try:
            await self._renew()
            taken = await self._queue.take(max(healthy_max, 0), max(failing_max, 0))
        except DatabaseDown as fault:
            log.warning("webhooks wait", reason=str(fault))
            return False
        for key_id, failing in taken.items():
            turn = asyncio.get_running_loop().create_task(self._turn(key_id))
            self._turns[turn] = failing
            turn.add_done_callback(self._ended)
        return len(self._turns) >= places

    async def _renew(self) -> None:
        if self._turns and time.monotonic() >= self._renew_at:
            self._renew_at = time.monotonic() + RENEW_S
            await self._queue.renew()

    def _ended(self, turn: asyncio.Task[None]) -> None:
        del self._turns[turn]
        if not turn.cancelled() and (error := turn.exception()) is not None:
            log.error("webhook delivery failed", exc_info=error)

    async def _turn(self, key_id: str) -> None:
        """Deliver what is due at a key that is held. Whatever is not written down is due again after the lease."""
        try:
            await self._deliver(key_id)
            await self._queue.release(key_id)
        except DatabaseDown as fault:
            log.warning("webhooks wait", key_id=key_id, reason=str(fault))
        except asyncio.CancelledError:
            await self._hand_back(key_id)
            raise

    async def _hand_back(self, key_id: str) -> None:
        """Let another worker go on at once, where that is quickly done."""
        try:
            async with asyncio.timeout(RELEASE_S):
                await self._queue.release(key_id)
        except (DatabaseDown, TimeoutError):
            log.info("webhooks held until their lease ends", key_id=key_id)

    async def _deliver(self, key_id: str) -> None:
        due = time.monotonic() + TURN_S
        while time.monotonic() < due:
            batch = await self._queue.next(key_id, self._settings.per_destination_max)
            if batch is None:
                return
            results = await self._send(batch)
            status = await self._queue.record(key_id, results, self._settings.pause_after_days * DAY_S)
            for result in results:
                self._telemetry.add(metrics.WEBHOOK_ATTEMPTS, 1, _RESULTS[result.judgement.status])
            if status is not WebhookStatus.ACTIVE:
                log.warning("webhook stopped", key_id=key_id, status=status)
                return

    async def _send(self, batch: Batch) -> list[Result]:
        """Make one attempt at everything in *batch*, side by side."""
        secrets: Sequence[str] = ()
        unreadable = None
        try:
            secrets = self._secrets_of(batch.key_id, batch.webhook.secrets)
        except SecretUnreadable as error:
            log.error("webhook secret unreadable", key_id=batch.key_id, reason=str(error))  # noqa: TRY400  # the message says it all
            unreadable = Attempt(None, 0, Failure.SECRET_UNREADABLE)
        results = []
        attempts = (self._attempt(batch.webhook.url, secrets, one, unreadable) for one in batch.deliveries)
        for delivery, (now, attempt) in zip(batch.deliveries, await asyncio.gather(*attempts), strict=True):
            judged = judge(attempt, delivery.failed, self._schedule, random.uniform(-1, 1))
            results.append(Result(delivery.id, iso_time(now), attempt, judged))
        return results

    async def _attempt(
        self, url: str, secrets: Sequence[str], delivery: DueDelivery, failed: Attempt | None
    ) -> tuple[float, Attempt]:
        now = time.time()
        if failed is not None:
            return now, failed
        at = iso_time(delivery.at.timestamp())
        message = webhook_message(delivery.id, delivery.event, at, delivery.data.encode())
        return now, await self._sender.send(url, secrets, message, now)
