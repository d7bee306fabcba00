"""`gateway keys`: makes, lists, shows, revokes and imports API keys, past the API and without a login."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final, TextIO

import click
from pydantic import ValidationError

from gateway.adapters.postgres.accounts import NoSuchAccount
from gateway.adapters.postgres.key_import import LineProblem, import_keys
from gateway.adapters.postgres.keys import NewKey, create_key, get_key, list_keys, set_status
from gateway.cli.database import checked_connection, only_account
from gateway.cli.key_lines import csv_lines, imported_keys, json_lines, told
from gateway.cli.run import config_option, load_or_exit
from gateway.core.keys import KeyStatus
from gateway.core.snapshot import KeyFormat
from gateway.management.key_bodies import CreateBody, Rules
from gateway.management.key_views import shown, shown_once

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.adapters.postgres.keys import CreatedKey, KeyPage, StoredKey
    from gateway.settings.schema import Config

PROBLEMS_SHOWN: Final = 20

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
account_option = click.option("--account", "account_id", help="The account's id; not needed while there is only one.")


@click.group()
def keys() -> None:
    """Manage API keys."""


@keys.command("create")
@click.option("--name", required=True, help="What people call the key, 1 to 100 characters.")
@click.option("--scope", "scopes", multiple=True, required=True, help="What it may do; can be given several times.")
@click.option("--description", help="What the key is for.")
@click.option("--rate-limit", type=int, help="Requests per hour.  [default: 1000]")
@click.option("--allowed-ip", "allowed_ips", multiple=True, help="An address or CIDR that may use it; several times.")
@click.option("--expires", help="When it ends, e.g. 2030-12-31T23:59:59Z.")
@click.option("--prefix", help="What the key begins with, one of keys.prefixes.  [default: the first]")
@account_option
@config_option
@json_option
def create(config_file: Path, account_id: str | None, prefix: str | None, *, as_json: bool, **fields: Any) -> None:
    """Make a key and print it. It is shown this once and can never be shown again."""
    config = load_or_exit(config_file)
    prefix = prefix or config.keys.prefixes[0]
    if prefix not in config.keys.prefixes:
        raise click.ClickException(f'"{prefix}" is not one of keys.prefixes: {", ".join(config.keys.prefixes)}')
    body = _checked(config, fields)

    async def work() -> CreatedKey:
        async with checked_connection(config) as connection:
            owner = account_id or await only_account(connection)
            try:
                return await create_key(connection, NewKey(account_id=owner, prefix=prefix, **body.columns()))
            except NoSuchAccount:
                raise _no_account(owner) from None

    created = asyncio.run(work())
    if as_json:
        click.echo(_json(shown_once(created, None)))
        return
    click.echo(created.key)
    click.echo(f"{created.stored.id}; the key is not kept and cannot be shown again", err=True)


@keys.command("list")
@click.option("--status", type=click.Choice([status.value for status in KeyStatus]), help="Only these.")
@click.option("--search", help="Only those with this in their name or prefix.")
@click.option("--page", type=click.IntRange(min=1), default=1, show_default=True, help="Which page, newest first.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many on a page.")
@click.option("--account", "account_id", help="Only those of the account with this id.")
@config_option
@json_option
def list_command(
    config_file: Path,
    account_id: str | None,
    status: str | None,
    search: str | None,
    page: int,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """List keys, newest first."""

    async def work() -> KeyPage:
        async with checked_connection(load_or_exit(config_file)) as connection:
            wanted = None if status is None else KeyStatus(status)
            return await list_keys(connection, account_id, page=page, limit=limit, status=wanted, search=search)

    found = asyncio.run(work())
    if as_json:
        click.echo(_json({"data": [_shown(key) for key in found.keys], "total": found.total}))
        return
    for key in found.keys:
        click.echo(f"{key.id}  {key.prefix}  {key.status:9}  {key.name}  [{' '.join(key.scopes)}]")
    click.echo(f"{len(found.keys)} of {found.total}", err=True)


@keys.command("show")
@click.argument("key_id", metavar="ID")
@config_option
@json_option
def show(key_id: str, config_file: Path, *, as_json: bool) -> None:
    """Show the key with this ID."""

    async def work() -> StoredKey | None:
        async with checked_connection(load_or_exit(config_file)) as connection:
            return await get_key(connection, key_id)

    _print(key_id, asyncio.run(work()), as_json=as_json)


@keys.command("revoke")
@click.argument("key_id", metavar="ID")
@config_option
@json_option
def revoke(key_id: str, config_file: Path, *, as_json: bool) -> None:
    """Revoke the key with this ID, for ever. All instances refuse it at once."""

    async def work() -> StoredKey | None:
        async with checked_connection(load_or_exit(config_file)) as connection:
            return await set_status(connection, key_id, KeyStatus.REVOKED)

    _print(key_id, asyncio.run(work()), as_json=as_json)


@keys.command("import")
@click.argument("file", type=click.File(encoding="utf-8-sig"))
@click.option("--format", "form", type=click.Choice(["csv", "jsonl"]), help="[default: by the name's ending]")
@account_option
@config_option
@json_option
def import_command(file: TextIO, form: str | None, account_id: str | None, config_file: Path, *, as_json: bool) -> None:
    """Import the keys in FILE, all of them or none.

    FILE is CSV with a header, or a JSON object a line. Members: name, scopes, and key or sha256 (hex); also id,
    description, rateLimitPerHour, status, allowedIps, expiresAt, and keyPrefix beside sha256. In CSV, lists are
    separated by blanks. Keys that were not issued by a gateway, and digests, need keys.legacy: true in the settings.
    """
    config = load_or_exit(config_file)
    read = csv_lines if (form or ("csv" if file.name.lower().endswith(".csv") else "jsonl")) == "csv" else json_lines
    problems: list[LineProblem] = []

    async def work() -> int:
        async with checked_connection(config) as connection:
            owner = account_id or await only_account(connection)
            key_format = KeyFormat(config.keys.prefixes, config.keys.legacy)
            try:
                found = imported_keys(read(file), owner, key_format, _rules(config), problems)
                return await import_keys(connection, found, problems)
            except NoSuchAccount:
                raise _no_account(owner) from None
            except UnicodeDecodeError:
                raise click.ClickException(f"{file.name} is not UTF-8; nothing was imported") from None

    count = asyncio.run(work())
    if problems:
        raise click.ClickException(_refused(problems))
    click.echo(_json({"imported": count}) if as_json else f"imported {count}")


def _checked(config: Config, fields: dict[str, Any]) -> CreateBody:
    """Check the options by the rules of the API; those that were not given keep its defaults."""
    body = {
        "name": fields["name"],
        "scopes": list(fields["scopes"]),
        "description": fields["description"],
        "rateLimitPerHour": fields["rate_limit"],
        "allowedIps": list(fields["allowed_ips"]),
        "expiresAt": fields["expires"],
    }
    try:
        given = {name: value for name, value in body.items() if value not in (None, [])}
        return CreateBody.model_validate(given, context=_rules(config))
    except ValidationError as error:
        raise click.ClickException("; ".join(told(error))) from None


def _rules(config: Config) -> Rules:
    return Rules(config.scopes, time.time(), config.webhooks.allow_private)


def _refused(problems: list[LineProblem]) -> str:
    told_lines = [str(problem) for problem in sorted(problems)[:PROBLEMS_SHOWN]]
    more = len(problems) - len(told_lines)
    rest = [f"and {more} more"] if more else []
    return "\n".join(["nothing was imported:", *told_lines, *rest])


def _print(key_id: str, key: StoredKey | None, *, as_json: bool) -> None:
    if key is None:
        raise click.ClickException(f"there is no key {key_id}; see `gateway keys list`")
    view = _shown(key)
    if as_json:
        click.echo(_json(view))
        return
    for name, value in view.items():
        text = " ".join(value) if isinstance(value, list) else value
        click.echo(f"{name:16}  {'-' if text is None else text}")


def _shown(key: StoredKey) -> dict[str, Any]:
    return {**shown(key), "accountId": key.account_id}


def _no_account(account_id: str) -> click.ClickException:
    return click.ClickException(f"there is no account {account_id}; see `gateway accounts list`")


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
