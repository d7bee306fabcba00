"""The schema: which migrations there are, and whether the applied ones fit this version of the gateway."""

from __future__ import annotations

import enum
import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.adapters.postgres.connection import Connection

_FILE_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_HEADER: Final = re.compile(r"-- oldest-compatible: (\d+)\n")


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step. A gateway that knows migrations up to *oldest_compatible* works with its outcome."""

    version: int
    name: str
    oldest_compatible: int
    sql: str

    @property
    def checksum(self) -> str:
        """The SHA-256 of the file, by which a change after the fact is noticed."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def _read_all() -> tuple[Migration, ...]:
    found: list[Migration] = []
    for file in files("gateway.adapters.postgres").joinpath("migrations").iterdir():
        name = _FILE_NAME.fullmatch(file.name)
        if name is None:
            continue
        sql = file.read_text(encoding="utf-8")
        header = _HEADER.match(sql)
        assert header is not None, f"{file.name} does not begin with '-- oldest-compatible: N'"
        found.append(Migration(int(name[1]), name[2], int(header[1]), sql))
    return tuple(sorted(found, key=lambda migration: migration.version))


MIGRATIONS: Final = _read_all()
"""All migrations of this version, in order."""


class Fit(enum.Enum):
    """How a database's schema and this version of the gateway go together."""

    CURRENT = "current"
    OLDER = "older"
    NEWER_COMPATIBLE = "newer-compatible"
    INCOMPATIBLE = "incompatible"


@dataclass(frozen=True, slots=True)
class SchemaState:
    """The schema of a database at *version* (0: none yet), judged by a gateway that knows migrations up to *known*."""

    fit: Fit
    version: int
    known: int

    @property
    def usable(self) -> bool:
        """Say whether the gateway can work with it."""
        return self.fit in {Fit.CURRENT, Fit.NEWER_COMPATIBLE}

    @property
    def message(self) -> str:
        """Say what is the case and what to do."""
        match self.fit:
            case Fit.CURRENT:
                return f"the schema is at version {self.version}, as this gateway expects"
            case Fit.OLDER:
                return (
                    f"the schema is at version {self.version} and this gateway needs {self.known}: "
                    f"run `gateway migrate`, or set postgres.migrate: true"
                )
            case Fit.NEWER_COMPATIBLE:
                return f"the schema is at version {self.version}, newer than {self.known} and compatible with it"
            case Fit.INCOMPATIBLE:
                return (
                    f"the schema is at version {self.version}, which this gateway (it knows up to {self.known}) "
                    f"cannot work with: upgrade the gateway"
                )


async def check_schema(connection: Connection, migrations: Sequence[Migration] = MIGRATIONS) -> SchemaState:
    """Compare the applied migrations with *migrations*."""
    known = migrations[-1].version
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
        return SchemaState(Fit.OLDER, 0, known)
    rows = await connection.fetch("SELECT version, oldest_compatible FROM schema_migrations")
    applied = {row["version"]: row["oldest_compatible"] for row in rows}
    version = max(applied, default=0)
    if any(oldest > known for newer, oldest in applied.items() if newer > known):
        fit = Fit.INCOMPATIBLE
    elif any(migration.version not in applied for migration in migrations):
        fit = Fit.OLDER
    elif version > known:
        fit = Fit.NEWER_COMPATIBLE
    else:
        fit = Fit.CURRENT
    return SchemaState(fit, version, known)
