"""Statistics as Postgres keeps them: read from the sums by minute and hour, never from the events themselves.

The cost of an answer depends on how many minutes or hours and endpoints it covers, not on how many requests there were.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from gateway.core.statistics import LATENCY_COUNTS, Step, Sums

if TYPE_CHECKING:
    from datetime import date, datetime

    import asyncpg

    from gateway.adapters.postgres.connection import Connection

GroupBy = Literal["key", "endpoint", "day", "account"]

_TABLES: Final = {Step.MINUTE: "usage_minutes", Step.HOUR: "usage_hours"}
_LATENCIES: Final = ", ".join(f"sum(latencies[{number}])::bigint" for number in range(1, LATENCY_COUNTS + 1))
# The end of what another proxy carried is not known until it is reported: what was admitted counts as successful.
_UNKNOWN: Final = "status = 0 AND outcome = 'admitted'"
_SUCCESSFUL: Final = f"status BETWEEN 1 AND 399 OR ({_UNKNOWN})"
_SUMS: Final = (
    "sum(requests)::bigint AS requests, "
    f"coalesce(sum(requests) FILTER (WHERE {_SUCCESSFUL}), 0)::bigint AS successes, "
    f"coalesce(sum(requests) FILTER (WHERE {_UNKNOWN}), 0)::bigint AS unknown, "
    f"sum(duration_us)::bigint AS duration_us, ARRAY[{_LATENCIES}] AS latencies"
)
_GROUPS: Final[dict[GroupBy, str]] = {
    "key": "key_id",
    "endpoint": "endpoint, method",
    "day": "day",
    "account": "account_id",
}


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """The usage of one key in a period, looked at in several ways, all from one reading."""

    total: Sums = field(default_factory=Sums)
    days: dict[date, int] = field(default_factory=dict)
    endpoints: list[tuple[str, str, int]] = field(default_factory=list)
    """Endpoint, method and requests, the busiest first."""
    statuses: dict[int, int] = field(default_factory=dict)
    """0 is for requests whose status is not known."""
    outcomes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GroupUsage:
    """The usage of one key, endpoint, day or account; *name* is its id, `METHOD path` or date."""

    name: str
    sums: Sums


async def key_usage(connection: Connection, key_id: str, since: datetime, step: Step) -> KeyUsage:
    """Read the usage of a key from *since* on."""
    # Summed up by all of them first: the histograms of many rows are added once, not once for each way to look at them.
    rows = await connection.fetch(
        f"SELECT GROUPING(day, endpoint, status, outcome) AS level, day, endpoint, method, status, outcome, {_SUMS}"  # noqa: S608  # all of it is constant
        " FROM (SELECT (at AT TIME ZONE 'UTC')::date AS day, endpoint, method, status, outcome,"
        f" sum(requests)::bigint AS requests, sum(duration_us)::bigint AS duration_us, ARRAY[{_LATENCIES}] AS latencies"
        f" FROM {_TABLES[step]} WHERE key_id = $1 AND at >= $2 AND requests > 0 GROUP BY 1, 2, 3, 4, 5)"
        " AS sums GROUP BY GROUPING SETS ((), (day), (endpoint, method), (status), (outcome))",
        key_id,
        since,
    )
    levels: dict[int, list[asyncpg.Record]] = {}
    for row in rows:
        levels.setdefault(row["level"], []).append(row)
    whole, by_day, by_endpoint, by_status, by_outcome = 0b1111, 0b0111, 0b1011, 0b1101, 0b1110
    if levels[whole][0]["requests"] is None:
        return KeyUsage()
    endpoints = [(row["endpoint"], row["method"], row["requests"]) for row in levels[by_endpoint]]
    return KeyUsage(
        total=_sums(levels[whole][0]),
        days={row["day"]: row["requests"] for row in levels[by_day]},
        endpoints=sorted(endpoints, key=lambda endpoint: (-endpoint[2], endpoint)),
        statuses={row["status"]: row["requests"] for row in levels[by_status]},
        outcomes={row["outcome"]: row["requests"] for row in levels[by_outcome]},
    )


async def account_usage(
    connection: Connection, account_id: str | None, since: datetime, step: Step, group_by: GroupBy
) -> list[GroupUsage]:
    """Read the usage of an account's keys, or of all accounts, from *since* on; days in order, others busiest first."""
    group = _GROUPS[group_by]
    rows = await connection.fetch(
        f"SELECT {group}, {_SUMS}"  # noqa: S608  # all of it is constant
        f" FROM (SELECT *, (at AT TIME ZONE 'UTC')::date AS day FROM {_TABLES[step]}"
        f" WHERE ($1::text IS NULL OR account_id = $1) AND at >= $2 AND key_id <> '' AND requests > 0)"
        f" AS sums GROUP BY {group}",
        account_id,
        since,
    )
    usages = [GroupUsage(_name(row, group_by), _sums(row)) for row in rows]
    if group_by == "day":
        return sorted(usages, key=lambda usage: usage.name)
    return sorted(usages, key=lambda usage: (-usage.sums.requests, usage.name))


def _name(row: asyncpg.Record, group_by: GroupBy) -> str:
    if group_by == "endpoint":
        return f"{row['method']} {row['endpoint']}"
    return str(row[_GROUPS[group_by]])


def _sums(row: asyncpg.Record) -> Sums:
    latencies = tuple(row["latencies"])
    return Sums(row["requests"], row["successes"], row["duration_us"], latencies, row["unknown"])
