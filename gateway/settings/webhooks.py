"""Webhooks: who is told of events, how often is tried, and what is kept."""

from __future__ import annotations

from pydantic import Field

from gateway.settings.fields import Number, ScopeName, Section, Switch, Whole


class Webhooks(Section):
    """Calls to the webhooks of keys."""

    allow_private: Switch = False
    """Whether webhooks may be plain http and at private addresses. For development only."""
    scope: ScopeName = "WEBHOOKS"
    """The scope that a key needs to be told of events."""
    attempts_max: Whole = Field(default=8, ge=1, le=12)
    """Attempts at one delivery; after the last it is a dead letter, which can be sent again by hand."""
    retry_first_s: Number = Field(default=15.0, gt=0, le=3600)
    """Seconds between the first attempt and the second; each wait is four times as long as the one before. With the
    defaults the last attempt is made after about 23 hours."""
    pause_after_days: Number = Field(default=5.0, gt=0, le=365)
    """Days for which nothing could be delivered to a key after which its webhook is paused. Its events wait then."""
    retention_days: Whole = Field(default=30, ge=1, le=3650)
    """Days that events and their deliveries are kept, whether they were delivered or not."""
    destinations_max: Whole = Field(default=32, ge=2, le=1000)
    """Keys that each worker delivers to at the same time. Those that fail take half of the places at most."""
    per_destination_max: Whole = Field(default=4, ge=1, le=100)
    """Deliveries that are under way to one key at the same time, begun in the order of events. With 1 the next is begun
    when the one before has ended, so that events come in order as long as none fails."""
