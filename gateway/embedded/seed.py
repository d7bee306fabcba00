"""Who may use the demo: one account with a login and two keys, the same ones after every restart."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import asyncpg
from argon2 import PasswordHasher

from gateway.adapters.postgres.accounts import create_account, create_user, find_user, set_password_hash
from gateway.adapters.postgres.keys import NewKey, create_key
from gateway.embedded.kept import write_private

if TYPE_CHECKING:
    from pathlib import Path

_EMAIL = "demo@example.com"
_SCOPES = (
    "READ_BUDGETS",
    "WRITE_BUDGETS",
    "READ_CUSTOMERS",
    "WRITE_CUSTOMERS",
    "READ_PRODUCTS",
    "WRITE_PRODUCTS",
    "WEBHOOKS",
)
_PER_HOUR = 100_000
_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Seed:
    """The demo's credentials in clear: they open nothing but this demo."""

    account_id: str
    email: str
    password: str
    key: str
    readonly_key: str


async def seeded(dsn: str, file: Path) -> Seed:
    """The credentials kept in *file*, made in the migrated database at *dsn* when they are not there.

    Raises asyncpg.PostgresError or OSError when the database refuses or cannot be reached.
    """
    connection = await asyncpg.connect(dsn, timeout=_TIMEOUT_S, command_timeout=_TIMEOUT_S)
    try:
        kept = _read(file)
        if kept and await connection.fetchval("SELECT 1 FROM accounts WHERE id = $1", kept.account_id):
            return kept
        password = secrets.token_urlsafe(12)
        password_hash = await asyncio.to_thread(PasswordHasher().hash, password)
        # The file comes before the commit: were we killed between the two, the next start would begin anew.
        async with connection.transaction():
            seed = await _make(connection, password, password_hash)
            write_private(file, json.dumps(asdict(seed), indent=2) + "\n")
        return seed
    finally:
        await connection.close(timeout=_TIMEOUT_S)


async def _make(connection: asyncpg.Connection[asyncpg.Record], password: str, password_hash: str) -> Seed:
    user = await find_user(connection, _EMAIL)
    if user:  # Somebody deleted the file: what was in it cannot be read back, only replaced.
        account_id = user.account_id
        await set_password_hash(connection, user.id, password_hash)
    else:
        account_id = await create_account(connection, "Demo")
        await create_user(connection, account_id, _EMAIL, password_hash, "admin")
    everything = NewKey(account_id=account_id, name="Demo: everything", scopes=_SCOPES, rate_limit_per_hour=_PER_HOUR)
    readonly = NewKey(account_id=account_id, name="Demo: reads budgets", scopes=("READ_BUDGETS",))
    return Seed(
        account_id=account_id,
        email=_EMAIL,
        password=password,
        key=(await create_key(connection, everything)).key,
        readonly_key=(await create_key(connection, readonly)).key,
    )


def _read(file: Path) -> Seed | None:
    try:
        return Seed(**json.loads(file.read_bytes()))
    except FileNotFoundError:
        return None
