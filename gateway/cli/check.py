"""`gateway check`: says whether a settings file is right, and everything that is wrong with it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import click

from gateway.settings.load import load
from gateway.settings.problems import SettingsError, SettingsUnreadableError

WRONG: Final = 1
UNREADABLE: Final = 2


@click.command()
@click.option(
    "-c", "--config", type=click.Path(path_type=Path), default="gateway.yaml", show_default=True, help="The file."
)
def check(config: Path) -> None:
    """Check a settings file without starting anything.

    Says everything that is wrong, one line each, as FILE:LINE:COLUMN: what is wrong; what was expected. References
    such as ${DATABASE_URL} are looked up in the environment, as `gateway run` would.

    The exit code is 0 when the file is right, 1 when it is not, 2 when there is no such file.
    """
    try:
        settings = load(config, os.environ)
    except SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(UNREADABLE if isinstance(error, SettingsUnreadableError) else WRONG)
    click.echo(
        f"{config} is right: {_counted(len(settings.routes), 'route')}, "
        f"{_counted(len(settings.upstreams), 'upstream')}, {_counted(len(settings.scopes), 'scope')}"
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
