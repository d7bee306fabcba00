"""Somebody who owns keys and manages them over HTTP, as the API Keys page says."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import requests
from argon2 import PasswordHasher

from gateway.adapters.postgres.accounts import create_account, create_user

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

    from tests.gateways import Gateway

PASSWORD = "correct horse battery staple"
CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
_TIMEOUT_S = 10.0
_numbers = itertools.count(1)


def make_user(gateway: Gateway, role: str = "member") -> str:
    """Make somebody with PASSWORD in an account of its own, and give the e-mail address."""
    email = f"owner-{next(_numbers)}@example.com"

    async def make(connection: asyncpg.Connection[asyncpg.Record]) -> None:
        account = await create_account(connection, f"Account of {email}")
        await create_user(connection, account, email, CHEAP.hash(PASSWORD), role)

    gateway.database.do(make)
    return email


class Owner:
    """A user who is logged in; nothing that is shown once may ever be in the gateway's log."""

    def __init__(self, gateway: Gateway, role: str = "member") -> None:
        self._gateway = gateway
        self._session = requests.Session()
        self._session.trust_env = False  # Otherwise each request looks for proxies in every variable.
        self.email = make_user(gateway, role)
        login = self.ask("POST", "/auth/login", {"email": self.email, "password": PASSWORD})
        assert login.status_code == 200, login.text
        self.token: str = login.json()["token"]
        gateway.never_log(self.token)
        self._session.headers["Authorization"] = f"Bearer {self.token}"

    def ask(
        self, method: str, path: str, value: Any = None, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """Send one request, with *value* as its JSON."""
        url = self._gateway.url + path
        return self._session.request(method, url, json=value, headers=headers, timeout=_TIMEOUT_S)

    def told(self, status: int, method: str, path: str, value: Any = None) -> dict[str, Any]:
        """Ask, expect *status*, and give what the body says, which is nothing for 204."""
        answer = self.ask(method, path, value)
        assert answer.status_code == status, answer.text
        document: dict[str, Any] = answer.json() if answer.content else {}
        if "key" in document:
            self._gateway.never_log(document["key"])
        return document

    def create(self, **fields: Any) -> dict[str, Any]:
        """Make a key that may read budgets, with other *fields* as given."""
        return self.told(201, "POST", "/api-keys", {"name": "A test's", "scopes": ["READ_BUDGETS"], **fields})

    def change(self, key_id: str, fields: dict[str, Any], status: int = 200) -> dict[str, Any]:
        """Change *fields* of a key, and expect *status*."""
        return self.told(status, "PUT", f"/api-keys/{key_id}", fields)
