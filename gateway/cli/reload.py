"""`gateway reload` and `gateway restart`: have a running gateway take up changed settings, and say what came of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from gateway.cli.run import config_option
from gateway.settings.load import state_directory_of
from gateway.workers.control import give_order

if TYPE_CHECKING:
    from gateway.workers.control import Outcome

RELOAD_S: Final = 60.0
RESTART_S: Final = 3600.0

state_option = click.option(
    "--state",
    "state_directory",
    type=click.Path(path_type=Path),
    help="The state directory of the running gateway.  [default: state_directory of the settings]",
)


@click.command()
@config_option
@state_option
def reload(config_file: Path, state_directory: Path | None) -> None:
    """Have the running gateway read its settings again.

    Routes, upstreams, limits and whatever else can change while it serves is in force on return, for all new requests.
    A file that is wrong changes nothing: its problems are printed, and the exit code is 1. What has to wait for a
    restart is named.
    """
    outcome = _ordered("reload", config_file, state_directory, RELOAD_S)
    click.echo(f"the settings are in force (version {outcome.version})")


@click.command()
@config_option
@state_option
def restart(config_file: Path, state_directory: Path | None) -> None:
    """Replace the running gateway's workers by new ones, one after the other.

    No request is lost. New workers are what is installed by now, with the settings as they are by now; each has to be
    ready before the one in its place finishes what it began. Should one not become ready, the old ones go on, and the
    exit code is 1.
    """
    outcome = _ordered("restart", config_file, state_directory, RESTART_S)
    click.echo(f"all workers have begun anew (settings of version {outcome.version})")


def _ordered(order: str, config_file: Path, state_directory: Path | None, timeout_s: float) -> Outcome:
    """Give an *order* and print what stands in its way, which ends the command, or has to wait."""
    directory = state_directory or state_directory_of(config_file, os.environ)
    try:
        outcome = give_order(directory, order, timeout_s)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        raise click.ClickException(f"no gateway runs with the state directory {directory}; see --state") from None
    except OSError as error:
        raise click.ClickException(f"the gateway has not answered: {error.strerror or error}; see its log") from None
    for problem in outcome.problems:
        click.echo(problem, err=True)
    if outcome.problems:
        click.echo(f"nothing was changed; version {outcome.version} of the settings goes on", err=True)
        sys.exit(1)
    for name in outcome.waiting:
        click.echo(f"not in force yet: {name}", err=True)
    return outcome
