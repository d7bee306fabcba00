"""Importing keys that were issued elsewhere: any number of them in one COPY, all or none."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.adapters.postgres.accounts import NoSuchAccount
from gateway.adapters.postgres.audit import audit_as_one

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from gateway.adapters.postgres.connection import Connection
    from gateway.adapters.postgres.keys import NewKey
    from gateway.core.keys import KeyStatus

IMPORT_TIMEOUT_S: Final = 3600.0

_COLUMNS: Final = (
    *("line", "digest", "secret_prefix", "id", "account_id", "name", "description", "scopes", "rate_limit_per_hour"),
    *("status", "allowed_ips", "expires_at", "webhook_url", "webhook_secret", "webhook_secret_key_id"),
)
_STAGE: Final = """
CREATE TEMPORARY TABLE staged_keys (
    line bigint, digest bytea, secret_prefix text, id text, account_id text, name text, description text, scopes text[],
    rate_limit_per_hour bigint, status text, allowed_ips text[], expires_at timestamptz(3), webhook_url text,
    webhook_secret bytea, webhook_secret_key_id text
) ON COMMIT DROP
"""
_CLASHES: Final = """
SELECT line, what, earlier, count(*) OVER () AS clashes FROM (
    SELECT line, 'key' AS what, earlier FROM staged_keys JOIN (
        SELECT digest, min(line) AS earlier FROM staged_keys GROUP BY digest HAVING count(*) > 1
    ) AS repeated USING (digest) WHERE line > earlier
    UNION ALL
    SELECT line, 'id', earlier FROM staged_keys JOIN (
        SELECT id, min(line) AS earlier FROM staged_keys GROUP BY id HAVING count(*) > 1
    ) AS repeated USING (id) WHERE line > earlier
    UNION ALL
    SELECT line, 'key', NULL FROM staged_keys JOIN key_secrets USING (digest)
    UNION ALL
    SELECT line, 'id', NULL FROM staged_keys JOIN api_keys USING (id)
) AS found ORDER BY line, what LIMIT $1
"""
# Inserted in the order of their ids: indexes grow at one end, which takes a third of the time with a million keys.
_KEY_COLUMNS: Final = ", ".join(_COLUMNS[3:])
_KEYS: Final = f"INSERT INTO api_keys ({_KEY_COLUMNS}) SELECT {_KEY_COLUMNS} FROM staged_keys ORDER BY id"  # noqa: S608  # constants
_SECRETS: Final = """
INSERT INTO key_secrets (digest, key_id, prefix) SELECT digest, id, secret_prefix FROM staged_keys ORDER BY id
"""
_ACCOUNTS: Final = "SELECT account_id, count(*) AS number FROM staged_keys GROUP BY account_id"
# Announced and audited once for all of them (migrations 2 and 3).
_AS_ONE: Final = "SELECT set_config('gateway.announce', 'as one', true), pg_notify('gateway_keys', 'secrets:many')"


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


class LineProblems:
    """What is wrong with lines: how many things in *total*, and those of the first *kept_max* lines in full."""

    def __init__(self, kept_max: int) -> None:
        """Begin with none."""
        self.kept_max = kept_max
        self.total = 0
        self._kept: list[LineProblem] = []

    def add(self, problem: LineProblem) -> None:
        """Count *problem*, and keep it while there is room; they come in the order of lines."""
        self.total += 1
        if len(self._kept) < self.kept_max:
            self._kept.append(problem)

    def merge(self, found: Iterable[LineProblem], total: int) -> None:
        """Count *total* more, the first of which are *found*."""
        self.total += total
        self._kept = list(heapq.merge(self._kept, found))[: self.kept_max]

    @property
    def first(self) -> tuple[LineProblem, ...]:
        """Those that were kept, by line."""
        return tuple(self._kept)


@dataclass(frozen=True, slots=True)
class Steps:
    """What an import tells of itself: each key that was read, that checking or storing so many begins, the commit."""

    read: Callable[[], None]
    checking: Callable[[int], None]
    storing: Callable[[int], None]
    committing: Callable[[], None]


async def import_keys(
    connection: Connection, keys: Iterable[ImportedKey], problems: LineProblems, steps: Steps, *, dry_run: bool = False
) -> int:
    """Import *keys*, drawn one by one, and give their number; with *dry_run* everything is done, and undone again.

    *problems* may grow while *keys* is drawn, and gets the lines whose key or id exists already; when there is one in
    the end, nothing was imported. Raises NoSuchAccount.
    """
    transaction = connection.transaction()
    await transaction.start()
    imported = 0
    try:
        imported = await _import(connection, keys, problems, steps)
    finally:
        if imported and not dry_run:
            steps.committing()
            await transaction.commit()
        elif not connection.is_closed():
            await transaction.rollback()
    return imported


async def _import(connection: Connection, keys: Iterable[ImportedKey], problems: LineProblems, steps: Steps) -> int:
    await connection.execute(_STAGE)
    tag = await connection.copy_records_to_table(
        "staged_keys", records=_records(keys, steps), columns=_COLUMNS, timeout=IMPORT_TIMEOUT_S
    )
    count = int(tag.rpartition(" ")[2])
    steps.checking(count)
    await connection.execute("ANALYZE staged_keys", timeout=IMPORT_TIMEOUT_S)
    stranger = await connection.fetchval(
        "SELECT account_id FROM staged_keys WHERE account_id NOT IN (SELECT id FROM accounts) LIMIT 1",
        timeout=IMPORT_TIMEOUT_S,
    )
    if stranger is not None:
        raise NoSuchAccount(stranger)
    clashes = await connection.fetch(_CLASHES, problems.kept_max, timeout=IMPORT_TIMEOUT_S)
    if clashes:
        problems.merge(map(_clash, clashes), clashes[0]["clashes"])
    if problems.total or not count:
        return 0
    steps.storing(count)
    await connection.execute(_AS_ONE)
    for account in await connection.fetch(_ACCOUNTS, timeout=IMPORT_TIMEOUT_S):
        owner = account["account_id"]
        await audit_as_one(connection, "keys.imported", account["number"], subject_id=owner, account_id=owner)
    await connection.execute(_KEYS, timeout=IMPORT_TIMEOUT_S)
    await connection.execute(_SECRETS, timeout=IMPORT_TIMEOUT_S)
    return count


def _clash(row: Any) -> LineProblem:
    where = "in the database" if row["earlier"] is None else f"on line {row['earlier']}"
    return LineProblem(row["line"], f"{row['what']}: there is one like it {where} already")


def _records(keys: Iterable[ImportedKey], steps: Steps) -> Iterator[tuple[Any, ...]]:
    for imported in keys:
        key = imported.key
        steps.read()
        yield (
            *(imported.line, imported.digest, imported.secret_prefix),
            *(key.id, key.account_id, key.name, key.description, key.scopes, key.rate_limit_per_hour),
            *(imported.status, key.allowed_ips, key.expires_at),
            *(key.webhook_url, key.webhook_secret, key.webhook_secret_key_id),
        )
