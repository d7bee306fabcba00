"""`gateway migrate`: brings the database schema up to date."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from gateway.adapters.postgres.migrate import MigrationError
from gateway.adapters.postgres.migrate import migrate as apply_missing
from gateway.cli.run import config_option, load_or_exit
from gateway.telemetry.logs import configure_logs

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@config_option
def migrate(config_file: Path) -> None:
    """Bring the database schema up to date.

    Applies the migrations that are missing, each in a transaction of its own. Several may run at once: they take
    turns, and every migration is applied once.
    """
    config = load_or_exit(config_file)
    configure_logs(config.log.level, config.log.format)
    try:
        applied = asyncio.run(apply_missing(config.postgres.dsn.get_secret_value()))
    except MigrationError as error:
        raise click.ClickException(str(error)) from None
    if applied:
        click.echo(f"applied {', '.join(str(version) for version in applied)}")
    else:
        click.echo("nothing to do: the schema is up to date")
