"""`gateway accounts` and `gateway users`: who owns keys, and who may log in to manage them."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.adapters.postgres.accounts import (
    EmailTaken,
    NoSuchAccount,
    User,
    change_password,
    create_account,
    create_user,
    find_user,
    list_accounts,
    list_users,
    set_disabled,
)
from gateway.cli.database import checked_connection, only_account
from gateway.cli.run import config_option, load_or_exit
from gateway.core.denials import iso_time
from gateway.management.passwords import PASSWORD_MAX_BYTES, Passwords

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gateway.adapters.postgres.accounts import Account
    from gateway.adapters.postgres.connection import Connection
    from gateway.settings.schema import Config

PASSWORD_MIN_CHARACTERS: Final = 12

_EMAIL: Final = re.compile(r"(?=.{3,254}$)[^@\s]+@[^@\s]+")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
account_option = click.option("--account", "account_id", help="The account's id; not needed while there is only one.")


@click.group()
def accounts() -> None:
    """Manage accounts: what keys and users belong to."""


@accounts.command("create")
@click.argument("name")
@config_option
@json_option
def create_account_command(name: str, config_file: Path, *, as_json: bool) -> None:
    """Make an account called NAME and print its id."""
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise click.ClickException("the name of an account has 1 to 100 printable characters")

    async def work() -> str:
        async with checked_connection(load_or_exit(config_file)) as connection:
            return await create_account(connection, name)

    account_id = asyncio.run(work())
    click.echo(_json({"id": account_id, "name": name}) if as_json else account_id)


@accounts.command("list")
@config_option
@json_option
def list_accounts_command(config_file: Path, *, as_json: bool) -> None:
    """List all accounts, oldest first."""

    async def work() -> list[Account]:
        async with checked_connection(load_or_exit(config_file)) as connection:
            return await list_accounts(connection)

    found = asyncio.run(work())
    if as_json:
        rows = [
            {"id": account.id, "name": account.name, "createdAt": iso_time(account.created_at.timestamp())}
            for account in found
        ]
        click.echo(_json(rows))
        return
    for account in found:
        click.echo(f"{account.id}  {account.name}")


@click.group()
def users() -> None:
    """Manage users: who may log in and manage the keys of an account."""


@users.command("create")
@click.argument("email")
@account_option
@click.option(
    "--role",
    type=click.Choice(["member", "admin"]),
    default="member",
    show_default=True,
    help="A member manages the keys of the account, an admin those of all accounts.",
)
@config_option
@json_option
def create_user_command(email: str, account_id: str | None, role: str, config_file: Path, *, as_json: bool) -> None:
    """Make a user who logs in with EMAIL. The password is asked for, or read from standard input."""
    if _EMAIL.fullmatch(email) is None or not email.isprintable():
        raise click.ClickException(f'"{email}" is not an e-mail address')
    config = load_or_exit(config_file)
    password = _read_password()

    async def work() -> User | None:
        password_hash = await _hashed(config, password)
        async with checked_connection(config) as connection:
            owner = account_id or await only_account(connection)
            try:
                await create_user(connection, owner, email, password_hash, role)
            except EmailTaken:
                raise click.ClickException(f"there is a user {email} already; see `gateway users list`") from None
            except NoSuchAccount:
                raise click.ClickException(f"there is no account {owner}; see `gateway accounts list`") from None
            return await find_user(connection, email)

    made = asyncio.run(work())
    assert made is not None
    click.echo(_json(_shown(made)) if as_json else made.id)


@users.command("passwd")
@click.argument("email")
@config_option
@json_option
def change_password_command(email: str, config_file: Path, *, as_json: bool) -> None:
    """Give the user EMAIL a new password, asked for or read from standard input, and end all logins."""
    config = load_or_exit(config_file)
    password = _read_password()

    async def change(connection: Connection, user: User) -> None:
        await change_password(connection, user.id, await _hashed(config, password))

    changed = asyncio.run(_changed(config, email, change))
    click.echo(_json(_shown(changed)) if as_json else f"{email} has a new password, and logins made before have ended")


@users.command("disable")
@click.argument("email")
@config_option
@json_option
def disable_user_command(email: str, config_file: Path, *, as_json: bool) -> None:
    """Let the user EMAIL log in no more, and end all logins. API keys of the account go on working."""

    async def change(connection: Connection, user: User) -> None:
        await set_disabled(connection, user.id, disabled=True)

    changed = asyncio.run(_changed(load_or_exit(config_file), email, change))
    click.echo(_json(_shown(changed)) if as_json else f"{email} is disabled, and all logins have ended")


@users.command("enable")
@click.argument("email")
@config_option
@json_option
def enable_user_command(email: str, config_file: Path, *, as_json: bool) -> None:
    """Let the user EMAIL log in again."""

    async def change(connection: Connection, user: User) -> None:
        await set_disabled(connection, user.id, disabled=False)

    changed = asyncio.run(_changed(load_or_exit(config_file), email, change))
    click.echo(_json(_shown(changed)) if as_json else f"{email} can log in")


@users.command("list")
@account_option
@config_option
@json_option
def list_users_command(account_id: str | None, config_file: Path, *, as_json: bool) -> None:
    """List the users of an account, or of all."""

    async def work() -> list[User]:
        async with checked_connection(load_or_exit(config_file)) as connection:
            return await list_users(connection, account_id)

    found = asyncio.run(work())
    if as_json:
        click.echo(_json([_shown(user) for user in found]))
        return
    for user in found:
        click.echo(f"{user.email}  {user.role}  {user.account_id}{'  disabled' if user.disabled else ''}")


async def _changed(config: Config, email: str, change: Callable[[Connection, User], Awaitable[None]]) -> User:
    """Make a *change* to the user with this e-mail, and give the user as it is then."""
    async with checked_connection(config) as connection:
        user = await find_user(connection, email) if email.isprintable() else None
        if user is None:
            raise click.ClickException(f"there is no user {email!r}; see `gateway users list`")
        await change(connection, user)
        changed = await find_user(connection, email)
    assert changed is not None
    return changed


async def _hashed(config: Config, password: str) -> str:
    cost = config.auth.password_hash
    passwords = Passwords(cost.time_cost, cost.memory_kib, cost.parallelism)
    try:
        return await passwords.hash(password)
    finally:
        passwords.close()


def _read_password() -> str:
    """Ask for a password at a terminal, and read it from the first line of standard input elsewhere."""
    if sys.stdin.isatty():
        password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if len(password) < PASSWORD_MIN_CHARACTERS:
        raise click.ClickException(f"a password has at least {PASSWORD_MIN_CHARACTERS} characters")
    if len(password.encode(errors="replace")) > PASSWORD_MAX_BYTES:
        raise click.ClickException(f"a password has at most {PASSWORD_MAX_BYTES} bytes")
    if not password.isprintable():
        raise click.ClickException("a password has only printable characters, in UTF-8")
    return password


def _shown(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "email": user.email,
        "accountId": user.account_id,
        "role": user.role,
        "disabled": user.disabled,
    }


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
