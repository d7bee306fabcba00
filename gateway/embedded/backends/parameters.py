"""Reads path and query parameters; what cannot be read is 404 in a path and 422 in a query."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, TypeVar

from gateway.embedded.backends.answers import invalid, missing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

Chosen = TypeVar("Chosen")

LARGEST_IDENTIFIER = 2**63 - 1
_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def path_identifier(request: web.Request, noun: str) -> int:
    """The number in the path. Nothing is stored under any other text, so that is 404 and not 422."""
    identifier = _number(request.match_info["id"])
    if identifier is None or identifier == 0:
        raise missing(noun)
    return identifier


def text(request: web.Request, name: str) -> str | None:
    """A text to compare with; None when absent or empty."""
    value = request.query.get(name) or None
    # Postgres holds neither, so no stored text could ever match.
    if value is not None and ("\0" in value or not _encodable(value)):
        raise invalid([{"field": name, "message": "is not valid text"}])
    return value


def number(request: web.Request, name: str) -> int | None:
    """A whole number from 0 to 2^63 - 1; None when absent or empty."""
    value = text(request, name)
    if value is None:
        return None
    parsed = _number(value)
    if parsed is None:
        raise invalid([{"field": name, "message": "must be a whole number"}])
    return parsed


def boolean(request: web.Request, name: str) -> bool | None:
    """`true` or `false`; None when absent or empty."""
    return choice(request, name, _BOOLEANS)


def choice(request: web.Request, name: str, choices: Mapping[str, Chosen]) -> Chosen | None:
    """What *choices* holds under the parameter, whose case does not matter; None when absent or empty."""
    value = text(request, name)
    if value is None:
        return None
    if value.lower() not in choices:
        raise invalid([{"field": name, "message": f"must be one of {', '.join(choices)}"}])
    return choices[value.lower()]


def day(request: web.Request, name: str) -> str | None:
    """The date part of an ISO 8601 date or time, as `YYYY-MM-DD`; None when absent or empty."""
    value = text(request, name)
    if value is None:
        return None
    try:
        return datetime.datetime.fromisoformat(value).date().isoformat()
    except ValueError:
        raise invalid([{"field": name, "message": "must be a date such as 2026-01-31"}]) from None


def _number(value: str) -> int | None:
    # Not int() alone: it also reads "+1", "1_0" and digits of other scripts.
    if not _NUMBER.fullmatch(value) or int(value) > LARGEST_IDENTIFIER:
        return None
    return int(value)


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
