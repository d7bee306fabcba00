"""`gateway secrets`: what protects secrets at rest."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.adapters.secrets.encryption import encryption_of
from gateway.cli.database import checked_connection
from gateway.cli.key_output import print_json
from gateway.cli.progress import Progress
from gateway.cli.run import config_option, load_or_exit
from gateway.management.reencryption import Reencrypted, UnknownSecretKey, reencrypt, survey

if TYPE_CHECKING:
    from pathlib import Path

INTERRUPTED: Final = 130

_NAMES: Final = {"webhook": "webhookSecrets", "signing": "signingKeys"}


@click.group()
def secrets() -> None:
    """Manage the key that webhook secrets and signing keys are encrypted with."""


@secrets.command("rotate")
@click.option("--dry-run", is_flag=True, help="Only say how many secrets each key has encrypted.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def rotate(config_file: Path, *, dry_run: bool, as_json: bool) -> None:
    """Encrypt every secret again, with secrets.key.

    What the keys in secrets.previous encrypted is read with them. It works beside gateways that serve, and can be
    stopped and run again. The whole way, without an interruption: deploy/RUNBOOK.md, "Replacing the secret key".
    """
    config = load_or_exit(config_file)
    encryption = encryption_of(config.secrets)
    progress, done = Progress(sys.stderr), Reencrypted()

    def on_batch() -> None:
        if progress.due():
            progress.say(f"encrypted {sum(done.numbers.values()):,} secrets again")

    async def work() -> dict[str, dict[str, int]]:
        async with checked_connection(config) as connection:
            try:
                if not dry_run:
                    await reencrypt(connection, encryption, done, on_batch)
                return await survey(connection, encryption)
            except UnknownSecretKey as fault:
                raise click.ClickException(str(fault)) from None

    try:
        numbers = asyncio.run(work())
    except KeyboardInterrupt:
        progress.end()
        click.echo(f"stopped after {sum(done.numbers.values())} secrets; run it again to go on", err=True)
        sys.exit(INTERRUPTED)
    finally:
        progress.end()
    _print(encryption.key_id, done, numbers, as_json=as_json)
    _complain(encryption.key_id, done, numbers, dry_run=dry_run)


def _print(key_id: str, done: Reencrypted, numbers: dict[str, dict[str, int]], *, as_json: bool) -> None:
    if as_json:
        view: dict[str, Any] = {"keyId": key_id, "unreadable": done.unreadable}
        for owner, name in _NAMES.items():
            view[name] = {"reencrypted": done.numbers[owner], "byKey": numbers[owner]}
        print_json(view)
        return
    for owner, name in (("webhook", "webhook secrets"), ("signing", "signing keys")):
        by_key = ", ".join(f"{number} with {known}" for known, number in numbers[owner].items())
        click.echo(f"{name}: {done.numbers[owner]} encrypted again; now {by_key or 'none'}")
    click.echo(f"secrets.key is {key_id}")


def _complain(key_id: str, done: Reencrypted, numbers: dict[str, dict[str, int]], *, dry_run: bool) -> None:
    """Fail when something is left, so that nobody takes a key away that is still needed."""
    if done.unreadable:
        raise click.ClickException(
            f"damaged and lost: {', '.join(done.unreadable)}; set a new one with `gateway keys update ID"
            " --webhook-secret`, signing keys are made again by themselves"
        )
    others = sum(number for by_key in numbers.values() for known, number in by_key.items() if known != key_id)
    if others and not dry_run:
        raise click.ClickException(
            f"{others} were encrypted with a previous key meanwhile: an instance still runs with that as its"
            " secrets.key; restart it with the new settings and run this again"
        )
