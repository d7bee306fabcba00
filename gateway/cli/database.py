"""The database as the commands use it: one connection, checked, and every failure one line that says what to do."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click

from gateway.adapters.postgres.accounts import list_accounts
from gateway.adapters.postgres.connection import AWAY, CONNECT_ERRORS, connect, reason
from gateway.adapters.postgres.schema import check_schema

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.adapters.postgres.connection import Connection
    from gateway.settings.schema import Config


@asynccontextmanager
async def checked_connection(config: Config) -> AsyncIterator[Connection]:
    """Lend a connection to a database whose schema fits; raises ClickException when there is none, or it is lost."""
    try:
        connection = await connect(config.postgres.dsn.get_secret_value(), config.postgres.connect_timeout_s)
    except CONNECT_ERRORS as error:
        raise click.ClickException(f"cannot connect to Postgres: {reason(error)}; see postgres.dsn") from None
    try:
        schema = await check_schema(connection)
        if not schema.usable:
            raise click.ClickException(schema.message)
        yield connection
    except AWAY as error:
        raise click.ClickException(f"the connection to Postgres was lost: {reason(error)}; try again") from None
    finally:
        connection.terminate()


async def only_account(connection: Connection) -> str:
    """Give the id of the only account; raises ClickException when it has to be said which."""
    found = await list_accounts(connection)
    if not found:
        raise click.ClickException("there is no account yet; make one with `gateway accounts create NAME`")
    if len(found) > 1:
        raise click.ClickException(f"there are {len(found)} accounts; say which with --account")
    return found[0].id
