"""The database as the commands use it: one connection, checked, and every failure one line that says what to do."""

from __future__ import annotations

import os
import pwd
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import click

from gateway.adapters.postgres.accounts import list_accounts
from gateway.adapters.postgres.audit import Actor, act_as
from gateway.adapters.postgres.connection import AWAY, CONNECT_ERRORS, connect, reason
from gateway.adapters.postgres.schema import check_schema

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.adapters.postgres.connection import Connection
    from gateway.settings.schema import Config

COMMAND_TIMEOUT_S: Final = 30.0


@asynccontextmanager
async def checked_connection(config: Config, *, timeout_s: float = COMMAND_TIMEOUT_S) -> AsyncIterator[Connection]:
    """Lend a connection to a database whose schema fits; what is changed on it is written down as the caller's.

    It waits *timeout_s* for each answer. Raises ClickException when there is none, or it is lost.
    """
    try:
        connection = await connect(
            config.postgres.dsn.get_secret_value(), config.postgres.connect_timeout_s, command_timeout_s=timeout_s
        )
    except CONNECT_ERRORS as error:
        raise click.ClickException(f"cannot connect to Postgres: {reason(error)}; see postgres.dsn") from None
    try:
        schema = await check_schema(connection)
        if not schema.usable:
            raise click.ClickException(schema.message)
        await act_as(connection, _caller(), for_transaction=False)
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


def _caller() -> Actor:
    """Give who runs this command, by the system's account and not the environment, which anybody can set."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # A container's user has a number and no name.
        name = f"uid {os.getuid()}"
    return Actor("command", name, address=socket.gethostname())
