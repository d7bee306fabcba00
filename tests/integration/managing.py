"""The control plane on a real database, asked without HTTP between: what the proxy would hand over, and get back."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from argon2 import PasswordHasher

from gateway.adapters.postgres.accounts import create_account, create_user
from gateway.adapters.postgres.pool import Database
from gateway.adapters.webhooks.sender import WebhookSender
from gateway.management.answers import management_answers
from gateway.settings.schema import Config
from tests.unit.management.asking import NOW, asked_with

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gateway.core.answers import Answer, AnswerFunction
    from gateway.core.decision import Principal

PASSWORD = "correct horse battery staple"
PAGE_EXAMPLE = {
    "name": "My E-commerce Integration",
    "description": "API key for Shopify integration",
    "scopes": ["READ_BUDGETS", "WRITE_BUDGETS"],
    "rateLimitPerHour": 1000,
    "allowedIps": ["192.168.1.100", "10.0.0.50"],
    "expiresAt": "2034-12-31T23:59:59Z",
    "webhookUrl": "https://myapp.com/webhooks/billoget",
}
KEY_CALLS = ("keys.create", "keys.list", "keys.get", "keys.update", "keys.delete", "keys.rotate", "keys.audit")
SMALL = {"name": "Small", "scopes": ["READ_BUDGETS"]}
CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


def config_for(dsn: str, **more: Any) -> Config:
    return Config.model_validate(
        {
            "version": 1,
            "postgres": {"dsn": dsn},
            "secrets": {"key": base64.b64encode(os.urandom(32)).decode()},
            "auth": {"password_hash": {"time_cost": 1, "memory_kib": 64, "parallelism": 1}},
            "scopes": {},
            "upstreams": {},
            "routes": (),
            **more,
        }
    )


@dataclass
class Managing:
    """Asks by the name of the answer; *token* is sent as a login token where it is set."""

    functions: Mapping[str, AnswerFunction]
    database: Database
    token: str | None = None

    async def ask(
        self,
        name: str,
        value: Any = None,
        *,
        key_id: str = "",
        below: tuple[str, ...] = (),
        query: str = "",
        headers: Mapping[str, str] | None = None,
        principal: Principal | None = None,
        now: float = NOW,
        address: str = "203.0.113.9",
    ) -> Answer:
        body = value if isinstance(value, bytes) else b"" if value is None else json.dumps(value).encode()
        sent = {"content-type": "application/json", **(headers or {})}
        if self.token is not None:
            sent.setdefault("authorization", f"Bearer {self.token}")
        segments = ("api-keys", key_id, *below) if key_id else ("api-keys",)
        asked = asked_with(
            body,
            sent,
            segments=segments,
            query=query,
            principal=principal,
            now=now,
            address=address,
            answer=name,
        )
        return await self.functions[name](asked)

    async def told(self, status: int, name: str, value: Any = None, **more: Any) -> Any:
        """Ask, expect *status*, and give what the body says."""
        answer = await self.ask(name, value, **more)
        assert answer.status == status, answer.body
        return json.loads(answer.body) if answer.body else None

    async def user(self, email: str, role: str = "member", account_id: str | None = None) -> str:
        """Make a user whose password is PASSWORD, in an account of its own by default, and give the account."""
        async with self.database.connection() as connection:
            account_id = account_id or await create_account(connection, f"Account of {email}")
            await create_user(connection, account_id, email, CHEAP.hash(PASSWORD), role)
        return account_id

    async def logged_in(self, email: str, role: str = "member") -> Managing:
        """Make a user and give what it is to ask as that user."""
        await self.user(email, role)
        return await self.as_user(email)

    async def as_user(self, email: str) -> Managing:
        """Give what it is to ask as the user with this address."""
        told = await self.told(200, "login", {"email": email, "password": PASSWORD})
        return replace(self, token=told["token"])


def fields_of(told: Any) -> set[str]:
    """Give the fields that a 422 complains of."""
    return {error["field"] for error in told["details"]["errors"]}


@contextlib.asynccontextmanager
async def database_at(dsn: str) -> AsyncIterator[Database]:
    """The database at *dsn*, connected or about to be."""
    async with Database(dsn) as database:
        yield database


@contextlib.asynccontextmanager
async def managing(dsn: str, **more: Any) -> AsyncIterator[Managing]:
    """The answers of the control plane on the database at *dsn*; *more* are other parts of the configuration."""
    async with database_at(dsn) as database:
        config = config_for(dsn, **more)
        sender = WebhookSender(allow_private=config.webhooks.allow_private)
        answers = management_answers(config, database, sender)
        try:
            yield Managing(answers.functions, database)
        finally:
            await answers.close()
            await sender.close()
