"""The `gateway` command and its groups; each command's module is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

from gateway import VERSION

COMMANDS: Final = {
    "run": "gateway.cli.run:run",
    "reload": "gateway.cli.reload:reload",
    "restart": "gateway.cli.reload:restart",
    "demo": "gateway.cli.demo:demo",
    "check": "gateway.cli.check:check",
    "migrate": "gateway.cli.migrate:migrate",
    "keys": "gateway.cli.keys:keys",
    "accounts": "gateway.cli.accounts:accounts",
    "usage": "gateway.cli.usage:usage",
    "users": "gateway.cli.accounts:users",
    "webhooks": "gateway.cli.webhooks:webhooks",
    "secrets": "gateway.cli.secrets:secrets",
    "signing-keys": "gateway.cli.signing_keys:signing_keys",
    "render": "gateway.cli.render:render",
    "version": "gateway.cli.main:version",
    "worker": "gateway.cli.run:worker",
}


class Commands(click.Group):
    """Finds commands by name in COMMANDS, in that order."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # the signature is click's
        """List the names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # as above
        """Import a command."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(VERSION)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Try `gateway demo` for everything on one machine. Settings are in gateway.yaml; `gateway check` checks it.",
)
def main() -> None:
    """Put API keys in front of services that already exist.

    The gateway checks keys, scopes, address lists and rate limits of every request, forwards what is allowed, and
    records every request as a usage event.
    """
