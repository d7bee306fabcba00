"""`gateway keys`: what the API does with keys, past the API and without a login."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from gateway.adapters.postgres.accounts import NoSuchAccount
from gateway.adapters.postgres.key_lists import list_keys
from gateway.adapters.postgres.keys import IllegalStatus, delete_key, get_key, rotate_key
from gateway.adapters.secrets.encryption import encryption_of
from gateway.cli.database import checked_connection, only_account
from gateway.cli.key_audit import audit_command
from gateway.cli.key_import import import_command
from gateway.cli.key_options import (
    account_option,
    check,
    checked_body,
    clear_option,
    description_options,
    json_option,
    status_option,
    webhook_status_option,
)
from gateway.cli.key_output import print_json, print_key, print_new, print_page
from gateway.cli.run import config_option, load_or_exit
from gateway.core.keys import KeyStatus
from gateway.management.key_bodies import (
    WEBHOOK_GRACE_S,
    CreateBody,
    PageQuery,
    RotateBody,
    RotateWebhookSecretBody,
    UpdateBody,
)
from gateway.management.key_changes import change_key, make_key, rotate_webhook_secret

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.adapters.postgres.key_lists import KeyPage
    from gateway.adapters.postgres.keys import CreatedKey, StoredKey
    from gateway.settings.schema import Config

prefix_option = click.option("--prefix", help="What the key begins with, one of keys.prefixes.  [default: the first]")
id_argument = click.argument("key_id", metavar="ID")


@click.group()
def keys() -> None:
    """Manage API keys.

    The commands need Postgres alone, and work while the gateway runs: every change is in force on all instances at
    once.
    """


@keys.command("create")
@description_options(needed=True)
@prefix_option
@account_option
@config_option
@json_option
def create(config_file: Path, account_id: str | None, prefix: str | None, *, as_json: bool, **options: Any) -> None:
    """Make a key and print it. It is shown this once and can never be shown again."""
    config = load_or_exit(config_file)
    first = _prefix(config, prefix)
    body = checked_body(CreateBody, config, options)

    async def work() -> tuple[CreatedKey, bytes | None]:
        async with checked_connection(config) as connection:
            owner = account_id or await only_account(connection)
            try:
                return await make_key(connection, encryption_of(config.secrets), body, account_id=owner, prefix=first)
            except NoSuchAccount:
                raise click.ClickException(f"there is no account {owner}; see `gateway accounts list`") from None

    created, webhook_secret = asyncio.run(work())
    print_new(created, webhook_secret, as_json=as_json)


@keys.command("list")
@click.option("--status", type=click.Choice(list(KeyStatus), case_sensitive=False), help="Only these.")
@click.option("--search", help="Only those with this in their name or prefix.")
@click.option("--page", type=int, default=1, show_default=True, help="Which page, newest first.")
@click.option("--limit", type=int, default=20, show_default=True, help="How many on a page, 100 at most.")
@click.option("--account", "account_id", help="Only those of the account with this id.")
@config_option
@json_option
def list_command(config_file: Path, account_id: str | None, *, as_json: bool, **options: Any) -> None:
    """List keys, newest first."""
    given = {name: str(value) for name, value in options.items() if value is not None}
    query = check(PageQuery, given)
    config = load_or_exit(config_file)

    async def work() -> KeyPage:
        async with checked_connection(config) as connection:
            return await list_keys(
                connection,
                account_id,
                page=query.page,
                limit=query.limit,
                status=query.status,
                search=query.search,
            )

    print_page(asyncio.run(work()), query.page, query.limit, as_json=as_json)


@keys.command("show")
@id_argument
@config_option
@json_option
def show(key_id: str, config_file: Path, *, as_json: bool) -> None:
    """Show the key with this ID."""
    config = load_or_exit(config_file)

    async def work() -> StoredKey | None:
        async with checked_connection(config) as connection:
            return await get_key(connection, key_id)

    key = asyncio.run(work())
    if key is None:
        raise _no_such_key(key_id)
    print_key(key, as_json=as_json)


@keys.command("update")
@id_argument
@description_options(needed=False)
@status_option
@webhook_status_option
@clear_option
@config_option
@json_option
def update(key_id: str, config_file: Path, clear: tuple[str, ...], *, as_json: bool, **options: Any) -> None:
    """Change what is given of the key with this ID, and nothing else."""
    config = load_or_exit(config_file)
    _change(config, key_id, checked_body(UpdateBody, config, options, clear), as_json=as_json)


@keys.command("suspend")
@id_argument
@config_option
@json_option
def suspend(key_id: str, config_file: Path, *, as_json: bool) -> None:
    """Refuse the key with this ID until it is activated again."""
    _change(load_or_exit(config_file), key_id, UpdateBody(status=KeyStatus.SUSPENDED), as_json=as_json)


@keys.command("activate")
@id_argument
@config_option
@json_option
def activate(key_id: str, config_file: Path, *, as_json: bool) -> None:
    """Accept the suspended key with this ID again."""
    _change(load_or_exit(config_file), key_id, UpdateBody(status=KeyStatus.ACTIVE), as_json=as_json)


@keys.command("revoke")
@id_argument
@config_option
@json_option
def revoke(key_id: str, config_file: Path, *, as_json: bool) -> None:
    """Revoke the key with this ID, for ever. It stays in the list."""
    _change(load_or_exit(config_file), key_id, UpdateBody(status=KeyStatus.REVOKED), as_json=as_json)


@keys.command("delete")
@id_argument
@config_option
@json_option
def delete(key_id: str, config_file: Path, *, as_json: bool) -> None:
    """Revoke the key with this ID and take it from the list, for ever. Its usage is kept."""
    config = load_or_exit(config_file)

    async def work() -> bool:
        async with checked_connection(config) as connection:
            return await delete_key(connection, key_id)

    if not asyncio.run(work()):
        raise _no_such_key(key_id)
    if as_json:
        print_json({"id": key_id, "deleted": True})
    else:
        click.echo(f"deleted {key_id}")


@keys.command("rotate")
@id_argument
@click.option("--grace", type=int, default=0, show_default=True, help="Seconds that the old secret goes on working.")
@prefix_option
@config_option
@json_option
def rotate(key_id: str, grace: int, prefix: str | None, config_file: Path, *, as_json: bool) -> None:
    """Give the key with this ID a new secret and print it, this once."""
    body = check(RotateBody, {"graceSeconds": grace})
    config = load_or_exit(config_file)
    first = _prefix(config, prefix)

    async def work() -> CreatedKey | None:
        async with checked_connection(config) as connection:
            try:
                return await rotate_key(connection, key_id, prefix=first, grace_s=body.grace_seconds)
            except IllegalStatus as illegal:
                message = f"the key is {illegal.current}, so it gets no new secret; make a new key"
                raise click.ClickException(message) from None

    rotated = asyncio.run(work())
    if rotated is None:
        raise _no_such_key(key_id)
    print_new(rotated, None, as_json=as_json)


@keys.command("rotate-webhook-secret")
@id_argument
@click.option(
    "--grace",
    type=int,
    default=WEBHOOK_GRACE_S,
    show_default=True,
    help="Seconds that webhooks are signed with the old secret as well.",
)
@config_option
@json_option
def rotate_webhook(key_id: str, grace: int, config_file: Path, *, as_json: bool) -> None:
    """Give the key with this ID a new webhook secret and print it, this once."""
    body = check(RotateWebhookSecretBody, {"graceSeconds": grace})
    config = load_or_exit(config_file)

    async def work() -> tuple[StoredKey, bytes] | None:
        async with checked_connection(config) as connection:
            return await rotate_webhook_secret(connection, encryption_of(config.secrets), key_id, body)

    rotated = asyncio.run(work())
    if rotated is None:
        raise _no_such_key(key_id)
    print_key(*rotated, as_json=as_json)


keys.add_command(audit_command)
keys.add_command(import_command)


def _change(config: Config, key_id: str, body: UpdateBody, *, as_json: bool) -> None:
    async def work() -> tuple[StoredKey, bytes | None] | None:
        async with checked_connection(config) as connection:
            try:
                return await change_key(connection, encryption_of(config.secrets), key_id, body)
            except IllegalStatus as illegal:
                message = f"the key is {illegal.current}, which is final; make a new key"
                raise click.ClickException(message) from None

    changed = asyncio.run(work())
    if changed is None:
        raise _no_such_key(key_id)
    key, webhook_secret = changed
    print_key(key, webhook_secret, as_json=as_json)


def _prefix(config: Config, wanted: str | None) -> str:
    if wanted is not None and wanted not in config.keys.prefixes:
        raise click.ClickException(f'"{wanted}" is not one of keys.prefixes: {", ".join(config.keys.prefixes)}')
    return wanted or config.keys.prefixes[0]


def _no_such_key(key_id: str) -> click.ClickException:
    return click.ClickException(f"there is no key {key_id}; see `gateway keys list`")
