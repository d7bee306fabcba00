"""Event rows: a usage event, as the journal has it, checked and laid out in the order of its table's columns."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Row = tuple[Any, ...]
"""The values of COLUMNS; the first is the day."""

FIRST_DAY: Final = date(2000, 1, 1)
LAST_DAY: Final = date(2999, 12, 31)
_BIGINT_MAX: Final = 2**63 - 1
_SMALLINT_MAX: Final = 2**15 - 1


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    value.encode()  # Raises for a lone surrogate, which Postgres does not take.
    return value


def _whole(value: Any, largest: int = _BIGINT_MAX) -> int:
    if type(value) is not int or not 0 <= value <= largest:
        raise ValueError
    return value


def _small(value: Any) -> int:
    return _whole(value, _SMALLINT_MAX)


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    if moment.tzinfo is None:
        raise ValueError
    return moment.astimezone(UTC)


def _uuid(value: Any) -> UUID:
    return UUID(_text(value))


_FIELDS: Final[tuple[tuple[str, str, Callable[[Any], Any], bool], ...]] = (
    ("id", "id", _uuid, True),
    ("at", "at", _moment, True),
    ("requestId", "request_id", _text, True),
    ("accountId", "account_id", _text, False),
    ("keyId", "key_id", _text, False),
    ("route", "route", _text, True),
    ("endpoint", "endpoint", _text, True),
    ("method", "method", _text, True),
    ("path", "path", _text, True),
    ("clientIp", "client_ip", _text, True),
    ("status", "status", _small, False),
    ("outcome", "outcome", _text, True),
    ("upstream", "upstream", _text, False),
    ("target", "target", _text, False),
    ("durationUs", "duration_us", _whole, True),
    ("upstreamUs", "upstream_us", _whole, False),
    ("bytesIn", "bytes_in", _whole, True),
    ("bytesOut", "bytes_out", _whole, True),
    ("mode", "mode", _text, True),
    ("configVersion", "config_version", _text, True),
    ("schema", "schema", _small, True),
)
"""Member of the event (contract section 9), column, how it is read, and whether it must be there."""

COLUMNS: Final = ("day", *(column for _, column, _, _ in _FIELDS))
DAY: Final = COLUMNS.index("day")
AT: Final = COLUMNS.index("at")
KEY_ID: Final = COLUMNS.index("key_id")


def event_row(event: Mapping[str, Any]) -> Row | None:
    """Lay out *event*; None when it cannot be stored. Members that are not known are passed over."""
    values: list[Any] = []
    try:
        for member, _, read, required in _FIELDS:
            value = event.get(member)
            values.append(None if value is None and not required else read(value))
        day = values[AT - 1].date()
    except (ValueError, OverflowError):
        return None
    return (day, *values) if FIRST_DAY <= day <= LAST_DAY else None
