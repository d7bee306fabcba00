"""An account whose keys are told of events, in tests of what is queued for them and how it is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.adapters.postgres.events import PostgresUsageSink
from gateway.adapters.postgres.keys import NewKey, create_key, update_key
from gateway.adapters.postgres.webhook_deliveries import list_deliveries
from gateway.adapters.postgres.webhook_queue import WebhookQueue
from gateway.core.webhook_events import WebhookEvent, encode, json_data
from tests.usage_events import event as usage_event

if TYPE_CHECKING:
    from gateway.adapters.postgres.pool import Database

JOURNAL = "worker-0-1.journal"
AT = "2026-11-24T12:00:00.123Z"


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
