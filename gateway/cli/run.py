"""`gateway run`: the production entry, a parent and its workers; and the hidden command that one worker is."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.settings.load import load
from gateway.settings.problems import SettingsError
from gateway.telemetry.logs import configure_logs

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.settings.schema import Config

config_option = click.option(
    "-c",
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    default="gateway.yaml",
    show_default=True,
    help="The settings.",
)


def load_or_exit(config_file: Path) -> Config:
    """Load the settings; what is wrong with them goes to standard error, one line each."""
    try:
        return load(config_file, os.environ)
    except SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


@click.command()
@config_option
@click.option("--workers", type=click.IntRange(1, 256), help="Processes that serve, instead of workers.count.")
@click.option("--migrate", is_flag=True, help="Bring an older database schema up to date first.")
@click.option("--watch", is_flag=True, help="Reload the settings whenever their file changes.")
def run(config_file: Path, workers: int | None, *, migrate: bool, watch: bool) -> None:
    """Run the gateway with the Postgres and Redis of the settings.

    SIGTERM or Ctrl-C drains it: it turns unready, finishes the requests in flight and exits. SIGHUP reads the settings
    again, as `gateway reload` does; SIGUSR2 replaces the workers one after the other, as `gateway restart` does.
    """
    config = load_or_exit(config_file)
    configure_logs(config.log.level, config.log.format)
    # Kept out of the other commands' start: it maps the parent's counters.
    from gateway.workers.listeners import AddressTaken  # noqa: PLC0415  # see above
    from gateway.workers.parent import Crew, Parent  # noqa: PLC0415  # see above

    crew = Crew(
        count=workers or config.workers.count,
        command=[sys.executable, "-m", "gateway", "worker"],
        environ=os.environ,
        config_file=config_file,
        config=config,
        watch=watch,
    )
    try:
        parent = Parent(crew)
        if migrate:
            _migrate(config)
        status = asyncio.run(parent.run())
    except AddressTaken as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    except OSError as error:
        click.echo(f"cannot use the state directory {config.state_directory}: {error.strerror}", err=True)
        sys.exit(1)
    sys.exit(status)


def _migrate(config: Config) -> None:
    # Only this option needs the driver here.
    from gateway.adapters.postgres.migrate import MigrationError, migrate  # noqa: PLC0415  # see above

    try:
        asyncio.run(migrate(config.postgres.dsn.get_secret_value()))
    except MigrationError as error:
        raise click.ClickException(str(error)) from None


@click.command(hidden=True)
@click.option("--channel", type=int, required=True)
@click.option("--public", type=int, required=True)
@click.option("--internal", type=int, required=True)
@click.option("--decisions", type=int)
@click.option("--reports", type=int)
@click.argument("seat", type=int)
def worker(channel: int, public: int, internal: int, seat: int, **sidecar: int | None) -> None:
    """Be one worker of a parent, which starts it with sockets that it inherits; settings come on the channel."""
    from gateway.adapters.journal import JournalError  # noqa: PLC0415  # a worker's imports are its own
    from gateway.app import SchemaRefused  # noqa: PLC0415  # see above
    from gateway.proxy.server import require_compiled_parser  # noqa: PLC0415  # see above
    from gateway.workers.channel import ChannelClosed  # noqa: PLC0415  # see above
    from gateway.workers.process import CANNOT_START  # noqa: PLC0415  # see above
    from gateway.workers.worker import work  # noqa: PLC0415  # see above

    try:
        require_compiled_parser()
        _run_fast(work(channel, public, internal, seat, **sidecar))
    except ChannelClosed:
        sys.exit(0)
    except (JournalError, SchemaRefused, OSError, ValueError) as error:
        click.echo(str(error), err=True)
        sys.exit(CANNOT_START)


def _run_fast(work: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where it exists, and on asyncio's own loop elsewhere."""
    runner = asyncio.Runner()
    with suppress(ImportError):
        import uvloop  # noqa: PLC0415  # it does not exist on every platform

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    with runner:
        runner.run(work)
