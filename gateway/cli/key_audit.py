"""`gateway keys audit`: who did what to a key, when and from where, deleted or not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from gateway.adapters.postgres.audit import list_audit
from gateway.cli.database import checked_connection
from gateway.cli.key_options import json_option
from gateway.cli.key_output import print_json
from gateway.cli.run import config_option, load_or_exit
from gateway.management.audit import shown_entry
from gateway.management.key_views import pagination

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.adapters.postgres.audit import AuditPage


@click.command("audit")
@click.argument("key_id", metavar="ID")
@click.option("--page", type=click.IntRange(min=1), default=1, show_default=True, help="Which page, newest first.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="How many on a page.")
@config_option
@json_option
def audit_command(key_id: str, page: int, limit: int, config_file: Path, *, as_json: bool) -> None:
    """Show who did what to the key with this ID, newest first. A deleted key still has its log."""
    config = load_or_exit(config_file)

    async def work() -> AuditPage:
        async with checked_connection(config) as connection:
            return await list_audit(connection, key_id, page=page, limit=limit)

    found = asyncio.run(work())
    if not found.total:
        raise click.ClickException(f"nothing is written down about a key {key_id}; see `gateway keys list`")
    views = [shown_entry(entry, to_operator=True) for entry in found.entries]
    if as_json:
        print_json({"data": views, "pagination": pagination(page, limit, found.total)})
        return
    for view in views:
        _print(view)
    click.echo(f"{len(views)} of {found.total}", err=True)


def _print(view: dict[str, Any]) -> None:
    actor = view["actor"]
    role = f" ({actor['role']})" if actor["role"] else ""
    whence = f" from {view['address']}" if view["address"] else ""
    click.echo(_plain(f"{view['at']}  {view['action']}  by {actor['kind']} {actor['id']}{role}{whence}"))
    for change in view["changes"]:
        what = "changed" if change.get("secret") else f"{_text(change['old'])} -> {_text(change['new'])}"
        click.echo(_plain(f"    {change['field']}: {what}"))


def _text(value: Any) -> str:
    return "-" if value is None else " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _plain(text: str) -> str:
    """Replace what could move a terminal's cursor."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
