"""`gateway run`: the production entry, a parent and its workers; and the hidden command that one worker is."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from gateway.settings.load import load
from gateway.settings.problems import SettingsError
from gateway.telemetry.logs import configure_logs

if TYPE_CHECKING:
    from gateway.settings.schema import Config, Listener

DRAIN_MARGIN_S: Final = 3.0

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
def run(config_file: Path, workers: int | None, *, migrate: bool) -> None:
    """Run the gateway with the Postgres and Redis of the settings.

    SIGTERM or Ctrl-C drains it: it turns unready, finishes the requests in flight and exits.
    """
    config = load_or_exit(config_file)
    configure_logs(config.log.level, config.log.format)
    for name, listener in (("public", config.listen.public), ("internal", config.listen.internal)):
        _require_free(name, listener)
    if migrate:
        _migrate(config)
    # Kept out of the other commands' start: it maps the parent's counters.
    from gateway.workers import Crew, Parent  # noqa: PLC0415  # see above

    command = [sys.executable, "-m", "gateway", "worker", "-c", str(config_file), "--parent", str(os.getpid())]
    crew = Crew(
        count=workers or config.workers.count,
        command=command,
        environ=os.environ,
        state_directory=config.state_directory,
        drain_s=config.drain.grace_s + config.drain.timeout_s + DRAIN_MARGIN_S,
    )
    try:
        status = asyncio.run(_run_parent(Parent, crew))
    except OSError as error:
        click.echo(f"cannot use the state directory {config.state_directory}: {error.strerror}", err=True)
        sys.exit(1)
    sys.exit(status)


async def _run_parent(parent_type: type, crew: object) -> int:
    status: int = await parent_type(crew).run()
    return status


def _require_free(name: str, listener: Listener) -> None:
    """Exit with one line when the address cannot be bound; workers share their ports and would not notice."""
    family = socket.AF_INET6 if ":" in listener.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listener.address, listener.port))
        except OSError as error:
            click.echo(
                f"cannot listen on {listener.address}:{listener.port}: {error.strerror}; stop what uses it, or change "
                f"listen.{name} in the settings",
                err=True,
            )
            sys.exit(1)


def _migrate(config: Config) -> None:
    # Only this option needs the driver here.
    from gateway.adapters.postgres.migrate import MigrationError, migrate  # noqa: PLC0415  # see above

    try:
        asyncio.run(migrate(config.postgres.dsn.get_secret_value()))
    except MigrationError as error:
        raise click.ClickException(str(error)) from None


@click.command(hidden=True)
@config_option
@click.option("--parent", type=int, required=True)
@click.argument("slot", type=int)
def worker(config_file: Path, parent: int, slot: int) -> None:
    """Be one worker of a parent; `gateway run` starts it."""
    from gateway.workers import CANNOT_START, end_with_parent  # noqa: PLC0415  # a worker's imports are its own

    end_with_parent(parent)
    config = load_or_exit(config_file)
    configure_logs(config.log.level, config.log.format)
    from gateway.adapters.journal import JournalError  # noqa: PLC0415  # see above
    from gateway.app import SchemaRefused, serve  # noqa: PLC0415  # see above

    async def work() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await serve(config, slot, stop)

    try:
        _run_fast(work)
    except (JournalError, SchemaRefused, OSError) as error:
        click.echo(str(error), err=True)
        sys.exit(CANNOT_START)


def _run_fast(work: object) -> None:
    """Run on uvloop where it exists, and on asyncio's own loop elsewhere."""
    runner = asyncio.Runner()
    with suppress(ImportError):
        import uvloop  # noqa: PLC0415  # it does not exist on every platform

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    with runner:
        runner.run(work())  # type: ignore[operator]  # a function without arguments that gives a coroutine
