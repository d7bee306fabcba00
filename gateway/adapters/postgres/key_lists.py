"""Lists of keys, newest first, as quick with a million keys as with a thousand.

Totals are kept by triggers (migration 3), pages are found in an index alone, and a search of many keys asks an index
what could fit before it reads keys.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.adapters.postgres.keys import SHOWN_COLUMNS, StoredKey, stored_key

if TYPE_CHECKING:
    from gateway.adapters.postgres.connection import Connection
    from gateway.core.keys import KeyStatus

FOUND_MAX: Final = 10_000
"""Keys that a search counts; nobody pages through more, and to count on would read every key."""

_NEWEST_FIRST: Final = "ORDER BY k.created_at DESC, k.id"
_CURRENT_SECRET: Final = "LEFT JOIN key_secrets s ON s.key_id = k.id AND s.valid_until IS NULL"  # noqa: S105  # no secret
_INDEXED_CHARACTERS: Final = 3
"""The index has parts of three characters: less than that it cannot look up."""
# Of all accounts: the index knows no accounts, and the limit bounds what is read of others'.
_FITTING: Final = """
SELECT ARRAY(SELECT id FROM api_keys WHERE deleted_at IS NULL AND name ILIKE $1 LIMIT $2) AS named,
       ARRAY(SELECT key_id FROM key_secrets WHERE valid_until IS NULL AND prefix LIKE $1 LIMIT $2) AS prefixed
"""


@dataclass(frozen=True, slots=True)
class KeyPage:
    """Some keys, and how many there are in *total*; a search counts up to FOUND_MAX."""

    keys: tuple[StoredKey, ...]
    total: int


@dataclass(slots=True)
class _Condition:
    """The condition of a query, growing with the arguments that it needs."""

    text: str = "k.deleted_at IS NULL"
    arguments: list[Any] = field(default_factory=list)

    def add(self, text: str, argument: Any) -> None:
        """Demand *text*, in which {} stands for *argument*."""
        self.arguments.append(argument)
        self.text += f" AND {text.replace('{}', f'${len(self.arguments)}')}"


async def list_keys(
    connection: Connection,
    account_id: str | None,
    *,
    page: int = 1,
    limit: int = 20,
    status: KeyStatus | None = None,
    search: str | None = None,
) -> KeyPage:
    """List keys, newest first; *page* counts from 1, *search* looks into names and prefixes."""
    condition = _Condition()
    if account_id is not None:
        condition.add("k.account_id = {}", account_id)
    if status is not None:
        condition.add("k.status = {}", status)
    total = await _count(connection, account_id, status)
    if search:
        return await _search(connection, condition, search, total, limit, (page - 1) * limit)
    return KeyPage(await _page(connection, condition, limit, (page - 1) * limit), total)


async def _count(connection: Connection, account_id: str | None, status: KeyStatus | None) -> int:
    total: int = await connection.fetchval(
        "SELECT coalesce(sum(number), 0)::bigint FROM key_counts"
        " WHERE ($1::text IS NULL OR account_id = $1) AND ($2::text IS NULL OR status = $2)",
        account_id,
        status,
    )
    return total


async def _page(connection: Connection, condition: _Condition, limit: int, offset: int) -> tuple[StoredKey, ...]:
    """Read a page: its ids from an index alone, since what is passed over is read too, and then its keys."""
    place = len(condition.arguments)
    rows = await connection.fetch(
        f"WITH page AS (SELECT k.id FROM api_keys k WHERE {condition.text} {_NEWEST_FIRST}"  # noqa: S608  # own text
        f" LIMIT ${place + 1} OFFSET ${place + 2})"
        f" SELECT {SHOWN_COLUMNS} FROM page JOIN api_keys k USING (id) {_CURRENT_SECRET} {_NEWEST_FIRST}",
        *condition.arguments,
        limit,
        offset,
    )
    return tuple(map(stored_key, rows))


async def _search(
    connection: Connection, condition: _Condition, search: str, total: int, limit: int, offset: int
) -> KeyPage:
    """Ask the index first where there are many keys; where few are, or too many fit, keys are read until it is enough.

    So a word that many keys have costs no more than one that few have.
    """
    like = "%" + search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    if total > FOUND_MAX and len(search) >= _INDEXED_CHARACTERS:
        fitting = await connection.fetchrow(_FITTING, like, FOUND_MAX + 1)
        assert fitting is not None
        if max(len(fitting["named"]), len(fitting["prefixed"])) <= FOUND_MAX:
            condition.add("k.id = ANY({})", list({*fitting["named"], *fitting["prefixed"]}))
            found = await connection.fetchval(
                f"SELECT count(*) FROM api_keys k WHERE {condition.text}",  # noqa: S608  # own text
                *condition.arguments,
            )
            return KeyPage(await _page(connection, condition, limit, offset), min(found, FOUND_MAX))
    condition.add("(k.name ILIKE {} OR s.prefix LIKE {})", like)
    read = f"FROM api_keys k {_CURRENT_SECRET} WHERE {condition.text}"
    found = await connection.fetchval(
        f"SELECT count(*) FROM (SELECT {read} LIMIT {FOUND_MAX}) AS found",  # noqa: S608  # own text
        *condition.arguments,
    )
    place = len(condition.arguments)
    rows = await connection.fetch(
        f"SELECT {SHOWN_COLUMNS} {read} {_NEWEST_FIRST} LIMIT ${place + 1} OFFSET ${place + 2}",
        *condition.arguments,
        limit,
        offset,
    )
    return KeyPage(tuple(map(stored_key, rows)), found)
