"""Importing keys that were issued elsewhere: any number of them in one COPY, all or none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.adapters.postgres.accounts import NoSuchAccount

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from gateway.adapters.postgres.connection import Connection
    from gateway.adapters.postgres.keys import NewKey
    from gateway.core.keys import KeyStatus

IMPORT_TIMEOUT_S: Final = 3600.0

_STAGE: Final = """
CREATE TEMPORARY TABLE staged_keys (
    line bigint, digest bytea, secret_prefix text, id text, account_id text, name text, description text,
    scopes text[], rate_limit_per_hour bigint, status text, allowed_ips text[], expires_at timestamptz(3)
) ON COMMIT DROP
"""
_COLUMNS: Final = (
    *("line", "digest", "secret_prefix", "id", "account_id", "name", "description"),
    *("scopes", "rate_limit_per_hour", "status", "allowed_ips", "expires_at"),
)
_CLASHES: Final = """
SELECT line, 'key' AS what FROM (SELECT line, digest, count(*) OVER (PARTITION BY digest ORDER BY line) AS nth
    FROM staged_keys) AS staged WHERE nth > 1 OR EXISTS (SELECT FROM key_secrets s WHERE s.digest = staged.digest)
UNION ALL
SELECT line, 'id' FROM (SELECT line, id, count(*) OVER (PARTITION BY id ORDER BY line) AS nth
    FROM staged_keys) AS staged WHERE nth > 1 OR EXISTS (SELECT FROM api_keys k WHERE k.id = staged.id)
ORDER BY line
"""
_KEYS: Final = """
INSERT INTO api_keys
    (id, account_id, name, description, scopes, rate_limit_per_hour, status, allowed_ips, expires_at)
SELECT id, account_id, name, description, scopes, rate_limit_per_hour, status, allowed_ips, expires_at FROM staged_keys
"""
_SECRETS: Final = """
INSERT INTO key_secrets (digest, key_id, prefix) SELECT digest, id, secret_prefix FROM staged_keys
"""


@dataclass(frozen=True, slots=True)
class ImportedKey:
    """A key from *line* of a file: the SHA-256 of its secret and the first characters of that, as far as known."""

    line: int
    digest: bytes = field(repr=False)
    secret_prefix: str
    key: NewKey
    status: KeyStatus


@dataclass(frozen=True, slots=True, order=True)
class LineProblem:
    """What is wrong with a line."""

    line: int
    what: str

    def __str__(self) -> str:
        """Say it for people."""
        return f"line {self.line}: {self.what}"


async def import_keys(connection: Connection, keys: Iterable[ImportedKey], problems: list[LineProblem]) -> int:
    """Import *keys*, drawn one by one, and give their number.

    *problems* may grow while *keys* is drawn, and gets the lines whose key or id exists already; when it is not empty
    in the end, nothing was imported. Raises NoSuchAccount.
    """
    async with connection.transaction():
        await connection.execute(_STAGE)
        await connection.copy_records_to_table(
            "staged_keys", records=_records(keys), columns=_COLUMNS, timeout=IMPORT_TIMEOUT_S
        )
        stranger = await connection.fetchval(
            "SELECT account_id FROM staged_keys WHERE account_id NOT IN (SELECT id FROM accounts) LIMIT 1"
        )
        if stranger is not None:
            raise NoSuchAccount(stranger)
        clashes = await connection.fetch(_CLASHES, timeout=IMPORT_TIMEOUT_S)
        problems += [LineProblem(row["line"], f"{row['what']}: there is one like it already") for row in clashes]
        if problems:
            return 0
        await connection.execute(_KEYS, timeout=IMPORT_TIMEOUT_S)
        await connection.execute(_SECRETS, timeout=IMPORT_TIMEOUT_S)
        count: int = await connection.fetchval("SELECT count(*) FROM staged_keys")
    return count


def _records(keys: Iterable[ImportedKey]) -> Iterator[tuple[Any, ...]]:
    for imported in keys:
        key = imported.key
        yield (
            *(imported.line, imported.digest, imported.secret_prefix),
            *(key.id, key.account_id, key.name, key.description, key.scopes, key.rate_limit_per_hour),
            *(imported.status, key.allowed_ips, key.expires_at),
        )
