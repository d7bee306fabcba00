"""Outcomes: how a request ended that another proxy carried, as the proxy reports it and as the journal keeps it.

A report names the usage event by its id, which only proxies are told: clients know the request's id, never the event's,
so that none of them can tell of its own requests, or of anybody's. The id says when the request was, by itself.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from msgspec import DecodeError, Meta, Struct, field
from msgspec.json import Decoder, Encoder

LATE_S: Final = 86_400.0
"""An outcome is taken up to this long after its request began."""
AHEAD_S: Final = 3600.0
"""How far the clock of the instance that decided may be ahead of ours."""
TIME_MAX_S: Final = 31 * 86_400.0
STATUS_MIN: Final = 100
STATUS_MAX: Final = 599
NUMBER_MAX: Final = 2**53
_EVENT_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}")

_Seconds = Annotated[float, Meta(ge=0, le=TIME_MAX_S)]
_Bytes = Annotated[int, Meta(ge=0, le=NUMBER_MAX)]


class Report(Struct, rename="camel"):
    """A line of a report. Times are in seconds; what is None the proxy does not know. Other members mean nothing."""

    id: str
    status: Annotated[int, Meta(ge=STATUS_MIN, le=STATUS_MAX)]
    seconds: _Seconds
    bytes_in: _Bytes | None = None
    bytes_out: _Bytes | None = None
    upstream_seconds: _Seconds | None = None


class Outcome(Struct, rename="camel"):
    """What completes the usage event with the id *event_id*; None leaves what the event says."""

    event_id: str = field(name="outcomeOf")
    status: int
    duration_us: int
    bytes_in: int | None
    bytes_out: int | None
    upstream_us: int | None


encode: Final = Encoder().encode
"""Write an outcome as one line of JSON; it begins with OUTCOME_START, which no usage event does."""
OUTCOME_START: Final = b'{"outcomeOf":'

_read_json: Final = Decoder(Report).decode


def read_report(line: bytes) -> Report | None:
    """Read a line of JSON; None for anything that is no report."""
    try:
        return _read_json(line)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return None


def began_at(event_id: str) -> float | None:
    """Give the Unix seconds in an event's id; None when that is not the id of any event."""
    if _EVENT_ID.fullmatch(event_id) is None:
        return None
    return int(event_id[:8] + event_id[9:13], 16) / 1000


def is_outcome(record: bytes) -> bool:
    """Tell an outcome from a usage event among the journal's records."""
    return record.startswith(OUTCOME_START)
