"""`gateway demo`: everything on this machine, with a key in hand that works with curl."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.status import Status

    from gateway.embedded.demo import Audience
    from gateway.embedded.ready import Running

_PORT = click.IntRange(1, 65535)
_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--port", type=_PORT, default=8080, show_default=True, help="Where the gateway listens.")
@click.option("--admin-port", type=_PORT, default=9090, show_default=True, help="Where its internal listener is.")
@click.option("--data", type=_PATH, default=".gateway", show_default=True, help="Where all state is kept.")
@click.option("--ready-file", type=_PATH, help="A file to write when all serves: addresses, keys, pids as JSON.")
@click.option("-c", "--config", type=_PATH, default="gateway.yaml", show_default=True, help="The gateway's settings.")
def demo(port: int, admin_port: int, data: Path, ready_file: Path | None, config: Path) -> None:
    """Run the gateway with a Postgres, a Valkey and three backends of its own.

    Nothing has to be installed or set up. Everything listens on 127.0.0.1 only, is kept in one directory, and ends
    with Ctrl-C; the next start finds the same keys again.
    """
    # Imported here, so that production never loads the embedded parts.
    from gateway.embedded.demo import Options, serve  # noqa: PLC0415  # see above
    from gateway.embedded.errors import EmbeddedError  # noqa: PLC0415  # see above
    from gateway.ports import Fault  # noqa: PLC0415  # see above

    # What happens inside is told in the demo's own words; a log line would run into the progress line.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    options = Options(data, config, port, admin_port, ready_file, os.environ)
    try:
        with _audience() as audience:
            asyncio.run(serve(options, audience))
    except (EmbeddedError, Fault) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        place = error.filename or data
        message = f"{error.strerror or error}: {place}; make room there, or choose another directory with --data"
        raise click.ClickException(message) from None


class _Plain:
    """One line a step, for logs and pipes: no control codes."""

    def progress(self, step: str) -> None:
        """Say *step*."""
        click.echo(f"{step} ...")

    def ready(self, running: Running) -> None:
        """Say what to do next."""
        click.echo(_what_to_do_next(running))

    def notice(self, line: str) -> None:
        """Say *line*."""
        click.echo(line)


class _Terminal(_Plain):
    """The same, with the steps in a line that moves and goes away."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def progress(self, step: str) -> None:
        """Show *step* until something else is said."""
        self._status.update(step)
        self._status.start()

    def ready(self, running: Running) -> None:
        """Say what to do next."""
        self._status.stop()
        super().ready(running)


@contextlib.contextmanager
def _audience() -> Iterator[Audience]:
    if not sys.stdout.isatty():
        yield _Plain()
        return
    from rich.console import Console  # noqa: PLC0415  # costs 60 ms that a pipe need not pay

    status = Console().status("")
    try:
        yield _Terminal(status)
    finally:
        status.stop()  # Shows the cursor again.


def _what_to_do_next(running: Running) -> str:
    seed, url = running.seed, running.url
    return f"""\

The gateway serves on {url} (metrics and health on {running.admin_url}).

  login          {seed.email} / {seed.password}
  key            {seed.key}
  read-only key  {seed.readonly_key}
  logs           {running.logs}

Try it:

  # three budgets, with the key
  curl -i '{url}/v1/api/public/budgets?limit=3' -H 'Authorization: Bearer {seed.key}'

  # a new customer
  curl -i {url}/v1/api/public/customers -H 'Authorization: Bearer {seed.key}' \\
    -H 'Content-Type: application/json' -d '{{"firstName": "Ada", "lastName": "Lovelace"}}'

  # the read-only key may not do that: 403
  curl -i {url}/v1/api/public/customers -H 'Authorization: Bearer {seed.readonly_key}' \\
    -H 'Content-Type: application/json' -d '{{"firstName": "Ada", "lastName": "Lovelace"}}'

  # log in, to manage keys
  curl -i {url}/v1/auth/login -H 'Content-Type: application/json' \\
    -d '{{"email": "{seed.email}", "password": "{seed.password}"}}'

  # what the gateway counts
  curl -s {running.admin_url}/metrics

Ctrl-C ends everything; the next start finds the same keys.
"""
