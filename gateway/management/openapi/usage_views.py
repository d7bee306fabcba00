"""The shapes of answers about usage, as the API's document describes them."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

from pydantic import Field

from gateway.management.openapi.views import Absent, View
from gateway.management.statistics import PeriodName  # noqa: TC001  # pydantic reads the annotations

Day = datetime.date
Count = Annotated[int, Field(ge=0)]
Milliseconds = Annotated[float, Field(ge=0)]


class Usage(View):
    """Requests, added up."""

    total_requests: Count
    """All requests: those that succeeded and those that did not."""
    successful_requests: Count
    """Those that were answered with a status below 400."""
    error_requests: Count
    """The others."""
    average_response_time: Milliseconds
    """The average time to answer in milliseconds; 0 without requests."""
    p50_response_time: Milliseconds | None
    """Milliseconds in which half of the requests were answered, estimated from a histogram; null without requests."""
    p95_response_time: Milliseconds | None
    """The same for 95 of 100 requests."""
    p99_response_time: Milliseconds | None
    """The same for 99 of 100 requests."""
    unknown_requests: Count
    """Those among the successful that another proxy carried and did not tell the end of."""


class EndpointCount(View):
    """How often an endpoint was asked."""

    endpoint: str
    """The endpoint, as the routes write it."""
    method: str
    """The method."""
    count: Count
    """Requests."""


class DayCount(View):
    """How many requests there were on a day."""

    date: Day
    """The day, in UTC."""
    requests: Count
    """Requests."""


class StatusCount(View):
    """How often a status was answered."""

    status: Annotated[int, Field(ge=100, le=999)] | None
    """The status; null where the client was gone before there was one, or another proxy did not tell of it."""
    count: Count
    """Requests."""


class ReasonCount(View):
    """How often requests were refused for one reason."""

    reason: str
    """The `error` of the refusal."""
    count: Count
    """Requests."""


class StatisticsView(Usage):
    """The usage of a key."""

    period: PeriodName
    """The period, which ends now and begins with a whole minute or hour."""
    top_endpoints: Annotated[list[EndpointCount], Field(max_length=10)]
    """The endpoints that were asked most, busiest first."""
    daily_usage: list[DayCount]
    """Every day that the period touches. The sum is `totalRequests`."""
    statuses: list[StatusCount] = Absent
    """By status; only with `include=statuses`."""
    denials: list[ReasonCount] = Absent
    """By reason of refusal; only with `include=denials`."""


class GroupView(Usage):
    """The usage of one key, endpoint or day; which of these members there is depends on `groupBy`."""

    key_id: str = Absent
    """The id of the key."""
    endpoint: str = Absent
    """Method and endpoint."""
    date: Day = Absent
    """The day, in UTC."""


class UsageView(View):
    """The usage of the account's keys."""

    period: PeriodName
    """The period, which ends now and begins with a whole minute or hour."""
    group_by: Literal["key", "endpoint", "day"]
    """What the usage is told by."""
    data: list[GroupView]
    """Days in their order, keys and endpoints busiest first."""
