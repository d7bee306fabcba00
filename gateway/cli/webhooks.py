"""`gateway webhooks`: what was sent to keys' webhooks, what waits, what was given up; and sending it again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from gateway.adapters.postgres.webhook_deliveries import dead_ids, list_deliveries, redeliver
from gateway.cli.database import checked_connection
from gateway.cli.key_options import json_option
from gateway.cli.key_output import print_json
from gateway.cli.live_view import plain
from gateway.cli.run import config_option, load_or_exit
from gateway.cli.webhook_listen import listen
from gateway.core.deliveries import DeliveryStatus
from gateway.management.deliveries import shown_delivery
from gateway.management.key_views import pagination

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.adapters.postgres.webhook_deliveries import DeliveryPage


@click.group()
def webhooks() -> None:
    """Look at the deliveries of webhooks, have them made again, and receive some to see what comes."""


@webhooks.command("list")
@click.option("--key", "key_id", metavar="ID", help="Only deliveries to the key with this id.")
@click.option(
    "--status", type=click.Choice(list(DeliveryStatus), case_sensitive=False), help="Only deliveries with this status."
)
@click.option("--page", type=click.IntRange(min=1), default=1, show_default=True, help="Which page, newest first.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="How many on a page.")
@config_option
@json_option
def list_command(
    key_id: str | None, status: DeliveryStatus | None, page: int, limit: int, config_file: Path, *, as_json: bool
) -> None:
    """List deliveries, newest first."""
    config = load_or_exit(config_file)

    async def work() -> DeliveryPage:
        async with checked_connection(config) as connection:
            return await list_deliveries(connection, key_id, page=page, limit=limit, status=status)

    found = asyncio.run(work())
    views = [{**shown_delivery(delivery), "keyId": delivery.key_id} for delivery in found.deliveries]
    if as_json:
        print_json({"data": views, "pagination": pagination(page, limit, found.total)})
        return
    for view in views:
        click.echo(plain(_line(view)))
    click.echo(f"{len(views)} of {found.total}", err=True)


@webhooks.command("redeliver")
@click.argument("delivery_ids", metavar="ID...", nargs=-1)
@click.option("--dead-of", "key_id", metavar="KEY", help="All that were given up of the key with this id.")
@config_option
@json_option
def redeliver_command(delivery_ids: tuple[str, ...], key_id: str | None, config_file: Path, *, as_json: bool) -> None:
    """Have deliveries made again, those with these IDs or the dead ones of a key, under the same webhook-id."""
    if bool(delivery_ids) == (key_id is not None):
        raise click.UsageError("give the IDs of deliveries, or --dead-of KEY")
    config = load_or_exit(config_file)

    async def work() -> list[str]:
        async with checked_connection(config) as connection:
            wanted = list(delivery_ids) if key_id is None else await dead_ids(connection, key_id)
            return await redeliver(connection, wanted)

    done = asyncio.run(work())
    missing = [delivery_id for delivery_id in delivery_ids if delivery_id not in done]
    if missing:
        raise click.ClickException(f"there is no delivery {', '.join(missing)}; see `gateway webhooks list`")
    if as_json:
        print_json({"redelivered": done})
    else:
        click.echo(f"{len(done)} deliveries are made again as soon as there is a place")


webhooks.add_command(listen)


def _line(view: dict[str, Any]) -> str:
    latest = view["history"][-1] if view["history"] else {}
    came = latest.get("statusCode") or latest.get("failure") or "-"
    then = f"  next {view['nextAttemptAt']}" if view["nextAttemptAt"] else ""
    return (
        f"{view['createdAt']}  {view['id']}  {view['status']:9}  {view['attempts']} attempts  {came}"
        f"  {view['event']}  {view['keyId']}{then}"
    )
