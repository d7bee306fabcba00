"""Statistics: what was stored is what is told, in every period and from every side, and to its owner only."""

from __future__ import annotations

import csv
import io
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.adapters.postgres.events import PostgresUsageSink
from gateway.adapters.postgres.schema import MIGRATIONS
from gateway.core.statistics import LATENCY_BOUNDS_US, PERIODS
from tests import usage_events
from tests.integration.managing import SMALL, Managing, fields_of
from tests.unit.management.asking import NOW

JOURNAL = "worker-0-1.journal"
TODAY = datetime.fromtimestamp(NOW, UTC)


def event(key_id: str, account_id: str, ago: timedelta = timedelta(), **members: Any) -> bytes:
    at = (TODAY - ago).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return usage_events.event(**{"at": at, "keyId": key_id, "accountId": account_id} | members)


async def store(owner: Managing, *events: bytes) -> None:
    sink = PostgresUsageSink(owner.database)
    position = await sink.position(JOURNAL)
    assert await sink.write(JOURNAL, position, position + 1, events) == position + 1


async def new_key(owner: Managing) -> tuple[str, str]:
    """Make a key; give its id and its account's."""
    key_id = (await owner.told(201, "keys.create", SMALL))["id"]
    async with owner.database.connection() as connection:
        return key_id, await connection.fetchval("SELECT account_id FROM api_keys WHERE id = $1", key_id)


async def stats(owner: Managing, key_id: str, query: str = "") -> dict[str, Any]:
    told: dict[str, Any] = await owner.told(200, "keys.stats", key_id=key_id, query=query)
    return told


async def test_a_key_that_was_never_used_has_zeros_for_every_day(ada: Managing) -> None:
    key_id, _ = await new_key(ada)
    told = await stats(ada, key_id)
    assert told["period"] == "7d"
    assert (told["totalRequests"], told["successfulRequests"], told["errorRequests"]) == (0, 0, 0)
    assert told["averageResponseTime"] == 0
    assert told["topEndpoints"] == []
    assert len(told["dailyUsage"]) == 8
    assert {day["requests"] for day in told["dailyUsage"]} == {0}


async def test_every_period_counts_what_lies_in_it_and_adds_up(ada: Managing) -> None:
    key_id, account_id = await new_key(ada)
    ages = [timedelta(minutes=1), timedelta(hours=5), timedelta(days=3), timedelta(days=20), timedelta(days=80)]
    await store(ada, *(event(key_id, account_id, ago) for ago in ages), event(key_id, account_id, timedelta(days=95)))
    for number, name in enumerate(PERIODS, start=1):
        told = await stats(ada, key_id, f"?period={name}")
        assert (name, told["totalRequests"]) == (name, number)
        assert sum(day["requests"] for day in told["dailyUsage"]) == number
        assert sum(endpoint["count"] for endpoint in told["topEndpoints"]) == number
        assert told["successfulRequests"] + told["errorRequests"] == number
        days = [day["date"] for day in told["dailyUsage"]]
        assert days == [day.isoformat() for day in PERIODS[name].days(NOW)]


async def test_success_is_a_status_below_400_and_times_are_averaged_in_milliseconds(ada: Managing) -> None:
    key_id, account_id = await new_key(ada)
    await store(
        ada,
        event(key_id, account_id, status=204, durationUs=1_000),
        event(key_id, account_id, status=399, durationUs=2_000),
        event(key_id, account_id, status=400, durationUs=2_000),
        event(key_id, account_id, status=None, outcome="client_gone", durationUs=2_500),
    )
    told = await stats(ada, key_id, "?period=1h")
    assert (told["totalRequests"], told["successfulRequests"], told["errorRequests"]) == (4, 2, 2)
    assert told["averageResponseTime"] == 1.875


async def test_what_another_proxy_carried_counts_by_its_decision(ada: Managing) -> None:
    key_id, account_id = await new_key(ada)
    await store(
        ada,
        event(key_id, account_id, status=None, mode="sidecar"),
        event(key_id, account_id, status=429, outcome="rate_limit_exceeded", mode="sidecar"),
    )
    told = await stats(ada, key_id, "?period=1h")
    assert (told["successfulRequests"], told["errorRequests"]) == (1, 1)


async def test_endpoints_are_told_by_method_busiest_first_ten_at_most(ada: Managing) -> None:
    key_id, account_id = await new_key(ada)
    used = Counter(
        {(f"/e{number}", method): number + (method == "GET") for number in range(1, 8) for method in ("GET", "PUT")}
    )
    await store(ada, *(event(key_id, account_id, endpoint=path, method=method) for path, method in used.elements()))
    told = await stats(ada, key_id, "?period=24h")
    expected = sorted(used.items(), key=lambda item: (-item[1], item[0]))[:10]
    assert told["topEndpoints"] == [
        {"endpoint": path, "method": method, "count": count} for (path, method), count in expected
    ]


async def test_statuses_and_denials_are_told_when_asked_for(ada: Managing) -> None:
    key_id, account_id = await new_key(ada)
    refused = event(key_id, account_id, status=429, outcome="rate_limit_exceeded")
    gone = event(key_id, account_id, status=None, outcome="client_gone")
    await store(ada, event(key_id, account_id), event(key_id, account_id), refused, gone)
    told = await stats(ada, key_id, "?period=1h&include=statuses,denials")
    assert told["statuses"] == [{"status": None, "count": 1}, {"status": 200, "count": 2}, {"status": 429, "count": 1}]
    assert told["denials"] == [{"reason": "client_gone", "count": 1}, {"reason": "rate_limit_exceeded", "count": 1}]
    assert not {"statuses", "denials"} & set(await stats(ada, key_id))


async def test_percentiles_come_from_all_times_of_the_period(ada: Managing) -> None:
    key_id, account_id = await new_key(ada)
    fast = [event(key_id, account_id, durationUs=1_200) for _ in range(98)]
    await store(ada, *fast, event(key_id, account_id, timedelta(hours=2), durationUs=9_999_999))
    await store(ada, event(key_id, account_id, timedelta(hours=2), durationUs=10**9))
    for period in ("24h", "7d"):
        told = await stats(ada, key_id, f"?period={period}")
        assert 1.0 <= told["p50ResponseTime"] <= 1.778
        assert 1.0 <= told["p95ResponseTime"] <= 1.778
        assert 5623 <= told["p99ResponseTime"] <= 10_000


async def test_the_database_puts_times_where_the_percentiles_look_for_them(ada: Managing) -> None:
    key_id, account_id = await new_key(ada)
    times = [0, 99, *LATENCY_BOUNDS_US, *(bound - 1 for bound in LATENCY_BOUNDS_US), 10**12]
    await store(ada, *(event(key_id, account_id, durationUs=time_us) for time_us in times))
    expected = [0] * (len(LATENCY_BOUNDS_US) + 1)
    for time_us in times:
        expected[sum(bound <= time_us for bound in LATENCY_BOUNDS_US)] += 1
    async with ada.database.connection() as connection:
        assert await connection.fetchval("SELECT latencies FROM usage_minutes") == expected
        assert await connection.fetchval("SELECT latencies FROM usage_hours") == expected


async def test_a_batch_that_is_sent_again_is_summed_up_once(ada: Managing) -> None:
    key_id, account_id = await new_key(ada)
    batch = [event(key_id, account_id) for _ in range(50)]
    await store(ada, *batch)
    await store(ada, *batch, event(key_id, account_id))
    assert (await stats(ada, key_id))["totalRequests"] == 51


async def test_statistics_belong_to_the_account_and_outlive_the_key(nobody: Managing, ada: Managing) -> None:
    eve = await nobody.logged_in("eve@example.com")
    operator = await nobody.logged_in("operator@example.com", role="admin")
    key_id, account_id = await new_key(ada)
    await store(ada, event(key_id, account_id))
    assert (await eve.told(404, "keys.stats", key_id=key_id))["error"] == "not_found"
    assert (await nobody.told(401, "keys.stats", key_id=key_id))["error"] == "unauthorized"
    assert (await stats(operator, key_id))["totalRequests"] == 1
    assert (await ada.ask("keys.delete", key_id=key_id)).status == 204
    assert (await stats(ada, key_id))["totalRequests"] == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?period=2h", "period"),
        ("?period=", "period"),
        ("?include=everything", "include"),
        ("?period=1h&period=24h", "period"),
    ],
)
async def test_a_query_that_means_nothing_is_refused_with_its_field(ada: Managing, query: str, field: str) -> None:
    key_id, _ = await new_key(ada)
    told = await ada.told(422, "keys.stats", key_id=key_id, query=query)
    assert fields_of(told) == {field}


async def test_an_account_is_told_by_key_endpoint_or_day(nobody: Managing, ada: Managing) -> None:
    eve = await nobody.logged_in("eve@example.com")
    (first, account_id), (second, _), (others, other_account) = (
        await new_key(ada),
        await new_key(ada),
        await new_key(eve),
    )
    await store(
        ada,
        event(first, account_id),
        event(second, account_id, timedelta(days=2), status=404),
        event(second, account_id, endpoint="/api/public/products"),
        event(others, other_account),
    )

    async def groups(group_by: str, member: str) -> dict[str, tuple[int, int]]:
        told = await ada.told(200, "usage", query=f"?groupBy={group_by}")
        assert told["groupBy"] == group_by
        return {row[member]: (row["totalRequests"], row["errorRequests"]) for row in told["data"]}

    assert await groups("key", "keyId") == {second: (2, 1), first: (1, 0)}
    assert await groups("endpoint", "endpoint") == {
        "GET /api/public/budgets": (2, 1),
        "GET /api/public/products": (1, 0),
    }
    days = [(TODAY - timedelta(days=2)).date().isoformat(), TODAY.date().isoformat()]
    assert await groups("day", "date") == {days[0]: (1, 1), days[1]: (2, 0)}


async def test_usage_can_be_had_as_csv(ada: Managing) -> None:
    key_id, account_id = await new_key(ada)
    await store(ada, event(key_id, account_id, durationUs=1_200))
    answer = await ada.ask("usage.csv", query="?period=24h")
    assert dict(answer.headers)["Content-Type"] == "text/csv; charset=utf-8"
    (row,) = csv.DictReader(io.StringIO(answer.body.decode()))
    assert (row["keyId"], row["totalRequests"], row["averageResponseTime"]) == (key_id, "1", "1.2")


async def test_what_was_stored_before_the_sums_existed_is_summed_up_by_the_migration(ada: Managing) -> None:
    key_id, account_id = await new_key(ada)
    await store(ada, *(event(key_id, account_id, timedelta(days=number)) for number in range(3)))
    async with ada.database.connection(10) as connection:
        sums = await connection.fetch("SELECT * FROM usage_hours ORDER BY at")
        await connection.execute("TRUNCATE usage_minutes, usage_hours")
        async with connection.transaction():
            await connection.execute(_backfill())
        assert await connection.fetch("SELECT * FROM usage_hours ORDER BY at") == sums
    assert len(sums) == 3


def _backfill() -> str:
    """The last part of migration 0005, as it is."""
    (sql,) = (migration.sql for migration in MIGRATIONS if migration.name == "rollups")
    return sql[sql.index("CREATE TEMPORARY TABLE stored_before") :]
