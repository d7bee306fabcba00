"""The shapes of answers about the deliveries of webhooks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.core.deliveries import DeliveryStatus  # noqa: TC001  # pydantic reads the annotations
from gateway.management.openapi.views import Moment, Pagination, View


class AttemptView(View):
    """One attempt at a delivery."""

    at: Moment
    """When it began."""
    status_code: int | None
    """What the receiver answered; null when there was no answer."""
    duration_ms: int
    """Milliseconds until the answer, or until it was given up."""
    failure: str | None
    """Why it failed, a word for programs; null when the receiver took it."""


class DeliveryView(View):
    """One event on its way to one key."""

    id: str
    """The id, which the receiver gets as `webhook-id` at each attempt."""
    event: str
    """The name of the event."""
    event_id: str
    """The id of the event, the same for all keys that are told of it."""
    timestamp: Moment
    """When it happened."""
    status: DeliveryStatus
    """PENDING while it is to be made, DELIVERED when the receiver took it, DEAD when it was given up."""
    attempts: Annotated[int, Field(ge=0)]
    """Attempts that were made, since it was sent again if it was."""
    next_attempt_at: Moment | None
    """When it is tried next, at the earliest; null unless it is pending."""
    finished_at: Moment | None
    """When it was delivered or given up."""
    created_at: Moment
    """When it was queued."""
    history: list[AttemptView]
    """The attempts, at most the last twenty."""


class DeliveryPageView(View):
    """A page of deliveries, newest first."""

    data: list[DeliveryView]
    """The deliveries."""
    pagination: Pagination
    """Where in the list this page is."""
