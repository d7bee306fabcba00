"""Accounts and their users: whose keys these are, and who may log in to manage them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import asyncpg

from gateway.adapters.postgres.ids import new_id

if TYPE_CHECKING:
    from datetime import datetime

    from gateway.adapters.postgres.connection import Connection


_USER: Final = "id, account_id, email, password_hash, role, disabled, session_generation"


class EmailTaken(Exception):
    """There is a user with this e-mail address already, however it is capitalised."""


class NoSuchAccount(Exception):
    """There is no account with this id."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account: what keys and users belong to."""

    id: str
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may log in, as `member` of an account or as `admin` of all.

    *session_generation* counts how often all logins were ended.
    """

    id: str
    account_id: str
    email: str
    password_hash: str = field(repr=False)
    role: str
    disabled: bool
    session_generation: int = 0


async def create_account(connection: Connection, name: str) -> str:
    """Make an account called *name* (1 to 100 characters) and give its id."""
    account_id = new_id("account")
    await connection.execute("INSERT INTO accounts (id, name) VALUES ($1, $2)", account_id, name)
    return account_id


async def list_accounts(connection: Connection) -> list[Account]:
    """List all accounts, oldest first."""
    rows = await connection.fetch("SELECT id, name, created_at FROM accounts ORDER BY created_at, id")
    return [Account(**row) for row in rows]


async def create_user(connection: Connection, account_id: str, email: str, password_hash: str, role: str) -> str:
    """Make a user and give its id; raises EmailTaken and NoSuchAccount."""
    user_id = new_id("user")
    try:
        await connection.execute(
            "INSERT INTO users (id, account_id, email, password_hash, role) VALUES ($1, $2, $3, $4, $5)",
            user_id,
            account_id,
            email,
            password_hash,
            role,
        )
    except asyncpg.UniqueViolationError as error:
        raise EmailTaken(email) from error
    except asyncpg.ForeignKeyViolationError as error:
        raise NoSuchAccount(account_id) from error
    return user_id


async def find_user(connection: Connection, email: str) -> User | None:
    """Give the user with this e-mail address, capitals aside, disabled or not."""
    row = await connection.fetchrow(
        f"SELECT {_USER} FROM users WHERE lower(email) = lower($1)",  # noqa: S608  # our own columns
        email,
    )
    return None if row is None else User(**row)


async def user_of_session(connection: Connection, user_id: str, generation: int) -> User | None:
    """Give the user with this id if a login of this *generation* is still good."""
    row = await connection.fetchrow(
        f"SELECT {_USER} FROM users WHERE id = $1 AND session_generation = $2 AND NOT disabled",  # noqa: S608  # as above
        user_id,
        generation,
    )
    return None if row is None else User(**row)


async def account_exists(connection: Connection, account_id: str) -> bool:
    """Say whether there is an account with this id."""
    return await connection.fetchval("SELECT 1 FROM accounts WHERE id = $1", account_id) is not None


async def list_users(connection: Connection, account_id: str | None = None) -> list[User]:
    """List the users of an account, or all, by e-mail address."""
    rows = await connection.fetch(
        f"SELECT {_USER} FROM users "  # noqa: S608  # our own columns
        "WHERE $1::text IS NULL OR account_id = $1 ORDER BY lower(email)",
        account_id,
    )
    return [User(**row) for row in rows]


async def set_password_hash(connection: Connection, user_id: str, password_hash: str) -> None:
    """Replace the hash of a user's password by another of the same password."""
    await connection.execute("UPDATE users SET password_hash = $2 WHERE id = $1", user_id, password_hash)


async def change_password(connection: Connection, user_id: str, password_hash: str) -> None:
    """Give a user a new password, and end all logins."""
    await connection.execute(
        "UPDATE users SET password_hash = $2, session_generation = session_generation + 1 WHERE id = $1",
        user_id,
        password_hash,
    )


async def set_disabled(connection: Connection, user_id: str, *, disabled: bool) -> None:
    """Disable a user, which ends all logins for good, or let the user log in again."""
    await connection.execute(
        "UPDATE users SET disabled = $2::boolean, session_generation = session_generation + $2::boolean::int"
        " WHERE id = $1",
        user_id,
        disabled,
    )
