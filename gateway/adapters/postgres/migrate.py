"""Migrating: applies the missing migrations, one transaction each, whoever else does so at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from gateway.adapters.postgres.connection import CONNECT_ERRORS, connect, reason
from gateway.adapters.postgres.schema import MIGRATIONS, Fit, check_schema
from gateway.ports import Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.adapters.postgres.connection import Connection
    from gateway.adapters.postgres.schema import Migration

CONNECT_TIMEOUT_S: Final = 10.0
STEP_TIMEOUT_S: Final = 600.0
"""What one migration may take, and what waiting for another instance's may."""

_LOCK: Final = 0x6761_7465_7761_79
"""Names the advisory lock; any number that nobody else uses would do."""

_BOOKS: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    oldest_compatible integer NOT NULL,
    applied_at timestamptz(3) NOT NULL DEFAULT now()
)
"""

log = structlog.get_logger()


class MigrationError(Fault):
    """The schema could not be brought up to date; it stands where the last complete migration left it."""

    code = "migration_failed"


async def migrate(dsn: str, migrations: Sequence[Migration] = MIGRATIONS) -> list[int]:
    """Apply what is missing of *migrations* and give the versions applied; an advisory lock keeps others waiting.

    A newer schema that is compatible is left alone. Raises MigrationError when Postgres cannot be reached, an applied
    migration was edited since, the schema is too new for this version, or a migration fails.
    """
    try:
        connection = await connect(dsn, CONNECT_TIMEOUT_S)
    except CONNECT_ERRORS as error:
        message = f"cannot reach Postgres: {reason(error)}; check postgres.dsn and that the server runs"
        raise MigrationError(message) from error
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK, timeout=STEP_TIMEOUT_S)
        return await _apply_missing(connection, migrations)
    except CONNECT_ERRORS as error:
        message = f"cannot migrate: {reason(error)}; check the rights of the database user, and try again"
        raise MigrationError(message) from error
    finally:
        # The lock goes with the session; a server that is gone must not keep us waiting for its farewell.
        connection.terminate()


async def _apply_missing(connection: Connection, migrations: Sequence[Migration]) -> list[int]:
    # Read first: `CREATE TABLE IF NOT EXISTS` wants the right to create even when there is nothing to do.
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
        await connection.execute(_BOOKS)
    rows = await connection.fetch("SELECT version, checksum FROM schema_migrations")
    checksums = {row["version"]: row["checksum"] for row in rows}
    for migration in migrations:
        if checksums.get(migration.version, migration.checksum) != migration.checksum:
            message = (
                f"migration {migration.version:04d}_{migration.name} was edited after it had been applied: "
                f"restore the file, and put the change into a new migration"
            )
            raise MigrationError(message)
    state = await check_schema(connection, migrations)
    if state.fit is Fit.INCOMPATIBLE:
        raise MigrationError(state.message)
    missing = [migration for migration in migrations if migration.version not in checksums]
    for migration in missing:
        await _apply(connection, migration)
    return [migration.version for migration in missing]


async def _apply(connection: Connection, migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.sql, timeout=STEP_TIMEOUT_S)
            await connection.execute(
                "INSERT INTO schema_migrations (version, name, checksum, oldest_compatible) VALUES ($1, $2, $3, $4)",
                migration.version,
                migration.name,
                migration.checksum,
                migration.oldest_compatible,
            )
    except CONNECT_ERRORS as error:
        message = f"migration {migration.version:04d}_{migration.name} failed and was undone: {reason(error)}"
        raise MigrationError(message) from error
    log.info("migration applied", version=migration.version, name=migration.name)
