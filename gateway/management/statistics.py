"""Statistics as their owners see them: of one key, and of all keys of an account (contract section 3)."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field

from gateway.adapters.postgres.audit import key_account
from gateway.adapters.postgres.statistics import account_usage, key_usage
from gateway.core.answers import Answer, json_answer
from gateway.core.statistics import PERIODS, Sums, percentile_ms
from gateway.management.bodies import Body, read_query
from gateway.management.key_access import key_id_of, visible_account
from gateway.management.refusals import no_such_key

if TYPE_CHECKING:
    from gateway.adapters.postgres.pool import Database
    from gateway.adapters.postgres.statistics import KeyUsage
    from gateway.core.answers import Asked
    from gateway.core.statistics import Period
    from gateway.management.sessions import Sessions

TOP_ENDPOINTS_MAX: Final = 10
CSV_TYPE: Final = ("Content-Type", "text/csv; charset=utf-8")
_INCLUDES: Final = ("statuses", "denials")
_NOTHING: Final = Sums()
_GROUP_MEMBERS: Final = {"key": "keyId", "endpoint": "endpoint", "day": "date"}


def _includes(text: str) -> str:
    unknown = [part for part in text.split(",") if part not in _INCLUDES]
    if unknown:
        message = f"must be a list of {', '.join(_INCLUDES)}"
        raise ValueError(message)
    return text


PeriodName = Literal["1h", "24h", "7d", "30d", "90d"]


class StatisticsQuery(Body):
    """What GET /api-keys/{id}/stats takes in its query; other parameters mean nothing, and do no harm."""

    model_config = ConfigDict(extra="ignore")

    period: PeriodName = "7d"
    """The last hour, day, 7, 30 or 90 days."""
    include: Annotated[str, Field(max_length=100), AfterValidator(_includes)] | None = None
    """More to tell: `statuses`, `denials`, or both with a comma between."""


class UsageQuery(Body):
    """What GET /usage and GET /usage.csv take in its query; other parameters mean nothing, and do no harm."""

    model_config = ConfigDict(extra="ignore")

    period: PeriodName = "7d"
    """The last hour, day, 7, 30 or 90 days."""
    group_by: Literal["key", "endpoint", "day"] = "key"
    """What the usage is told by."""


class StatisticsAnswers:
    """Answers GET /api-keys/{id}/stats, GET /usage and GET /usage.csv; each may raise Refused and DatabaseDown."""

    def __init__(self, database: Database, sessions: Sessions) -> None:
        """Take the collaborators."""
        self._database = database
        self._sessions = sessions

    async def of_key(self, asked: Asked) -> Answer:
        """Answer with the usage of a key in a period that ends now; a deleted key still has its statistics."""
        session = await self._sessions.session(asked)
        key_id, visible = key_id_of(asked), visible_account(session)
        query = read_query(asked, StatisticsQuery)
        period = PERIODS[query.period]
        async with self._database.connection() as connection:
            owner = await key_account(connection, key_id)
            if owner is None or visible not in {None, owner}:
                raise no_such_key()
            usage = await key_usage(connection, key_id, period.start(asked.now), period.step)
        include = frozenset((query.include or "").split(","))
        return json_answer(200, shown_statistics(usage, period, asked.now, include))

    async def of_account(self, asked: Asked) -> Answer:
        """Answer with the usage of the account's keys in a period that ends now, by key, endpoint or day."""
        query, rows = await self._of_account(asked)
        return json_answer(200, {"period": query.period, "groupBy": query.group_by, "data": rows})

    async def of_account_as_csv(self, asked: Asked) -> Answer:
        """Answer with the same as comma-separated values."""
        query, rows = await self._of_account(asked)
        return _csv_answer([_GROUP_MEMBERS[query.group_by], *shown_sums(_NOTHING)], rows)

    async def _of_account(self, asked: Asked) -> tuple[UsageQuery, list[dict[str, Any]]]:
        session = await self._sessions.session(asked)
        query = read_query(asked, UsageQuery)
        period = PERIODS[query.period]
        async with self._database.connection() as connection:
            usages = await account_usage(
                connection, visible_account(session), period.start(asked.now), period.step, query.group_by
            )
        return query, [{_GROUP_MEMBERS[query.group_by]: usage.name, **shown_sums(usage.sums)} for usage in usages]


def shown_statistics(usage: KeyUsage, period: Period, now: float, include: frozenset[str]) -> dict[str, Any]:
    """Show *usage* as the API Keys page does; percentiles and what is in *include* go beyond it."""
    shown: dict[str, Any] = {
        "period": period.name,
        **shown_sums(usage.total),
        "topEndpoints": [
            {"endpoint": endpoint, "method": method, "count": count}
            for endpoint, method, count in usage.endpoints[:TOP_ENDPOINTS_MAX]
        ],
        "dailyUsage": [{"date": day.isoformat(), "requests": usage.days.get(day, 0)} for day in period.days(now)],
    }
    if "statuses" in include:
        shown["statuses"] = [
            {"status": status or None, "count": count} for status, count in sorted(usage.statuses.items())
        ]
    if "denials" in include:
        shown["denials"] = [
            {"reason": outcome, "count": count}
            for outcome, count in sorted(usage.outcomes.items())
            if outcome != "admitted"
        ]
    return shown


def shown_sums(sums: Sums) -> dict[str, Any]:
    """Show *sums* as both answers do."""
    return {
        "totalRequests": sums.requests,
        "successfulRequests": sums.successes,
        "errorRequests": sums.errors,
        "averageResponseTime": sums.average_ms,
        "p50ResponseTime": percentile_ms(sums.latencies, 0.50),
        "p95ResponseTime": percentile_ms(sums.latencies, 0.95),
        "p99ResponseTime": percentile_ms(sums.latencies, 0.99),
        "unknownRequests": sums.unknown,
    }


def _csv_answer(columns: list[str], rows: list[dict[str, Any]]) -> Answer:
    """Write *rows* as RFC 4180 says."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    return Answer(
        200, text.getvalue().encode(), (CSV_TYPE, ("Content-Disposition", 'attachment; filename="usage.csv"'))
    )
