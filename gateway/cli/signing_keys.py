"""`gateway signing-keys`: what login tokens and identities for upstreams are signed with."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import click

from gateway.adapters.postgres.signing_keys import load_signing_keys
from gateway.adapters.secrets.encryption import encryption_of
from gateway.cli.database import checked_connection
from gateway.cli.run import config_option, load_or_exit
from gateway.core.denials import iso_time
from gateway.management.signing_keys import OVERLAP_S, rotate_signing_keys

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.adapters.postgres.signing_keys import StoredSigningKey
    from gateway.settings.schema import Config

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("signing-keys")
def signing_keys() -> None:
    """Manage the keys that login tokens and identities for upstreams are signed with."""


@signing_keys.command("rotate")
@click.option("--end-logins", is_flag=True, help="Let the old keys verify no more: all logins end within a minute.")
@config_option
@json_option
def rotate(config_file: Path, *, end_logins: bool, as_json: bool) -> None:
    """Make a new signing key. Running instances take it up within a minute, and old tokens are good until they end."""
    config = _with_keys_in_postgres(config_file)
    lifetime_s = max(config.auth.token_lifetime_s, config.auth.identity_lifetime_s)
    overlap_s = 0 if end_logins else lifetime_s + OVERLAP_S

    async def work() -> str:
        async with checked_connection(config) as connection:
            return await rotate_signing_keys(connection, encryption_of(config.secrets), overlap_s)

    kid = asyncio.run(work())
    click.echo(json.dumps({"kid": kid, "overlapSeconds": overlap_s}, indent=2) if as_json else kid)


@signing_keys.command("list")
@config_option
@json_option
def list_keys(config_file: Path, *, as_json: bool) -> None:
    """List the signing keys that verify tokens, newest first."""
    config = _with_keys_in_postgres(config_file)

    async def work() -> list[StoredSigningKey]:
        async with checked_connection(config) as connection:
            return await load_signing_keys(connection)

    shown = [_shown(key) for key in asyncio.run(work())]
    if as_json:
        click.echo(json.dumps(shown, indent=2))
        return
    for key in shown:
        click.echo(f"{key['kid']}  {'until ' + key['endsAt'] if key['endsAt'] else 'signs'}")


def _with_keys_in_postgres(config_file: Path) -> Config:
    config = load_or_exit(config_file)
    if config.auth.signing_key_file is not None:
        raise click.ClickException(
            f"the signing keys are in auth.signing_key_file, {config.auth.signing_key_file}: put the new key there,"
            " the old one behind it, and reload"
        )
    return config


def _shown(key: StoredSigningKey) -> dict[str, Any]:
    return {
        "kid": key.kid,
        "algorithm": key.algorithm,
        "endsAt": None if key.ends_at is None else iso_time(key.ends_at.timestamp()),
    }
