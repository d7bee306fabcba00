"""`gateway webhooks`: what developers and operators of webhooks need."""

from __future__ import annotations

import click

from gateway.cli.webhook_listen import listen


@click.group()
def webhooks() -> None:
    """Receive webhooks."""


webhooks.add_command(listen)
