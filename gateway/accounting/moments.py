"""Moments: the time of day as requests need it, in text, without formatting the same moment twice."""

from __future__ import annotations

from email.utils import formatdate
from time import gmtime, strftime, time

from gateway.core.events import uuid7_start


class Moments:
    """Formats Unix seconds; the texts of the last second and of its last millisecond are kept."""

    __slots__ = ("_date", "_id_start", "_millisecond", "_second", "_second_stamp", "_stamp")

    def __init__(self) -> None:
        """Start with no second known."""
        self._second = -1
        self._second_stamp = ""
        self._date = b""
        self._millisecond = -1
        self._stamp = ""
        self._id_start = ""

    def now(self) -> float:
        """Give the Unix time in seconds."""
        return time()

    def stamp(self, now: float) -> tuple[str, str]:
        """Write `YYYY-MM-DDTHH:MM:SS.mmmZ`, and what a UUIDv7 of that millisecond begins with."""
        millisecond = int(now * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            second, rest = divmod(millisecond, 1000)
            if second != self._second:
                self._turn(second)
            self._stamp = f"{self._second_stamp}.{rest:03d}Z"
            self._id_start = uuid7_start(millisecond)
        return self._stamp, self._id_start

    def date(self, now: float) -> bytes:
        """Write the value of a Date field (RFC 9110 section 6.6.1)."""
        second = int(now)
        if second != self._second:
            self._turn(second)
        return self._date

    def _turn(self, second: int) -> None:
        self._second = second
        self._second_stamp = strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))
        self._date = formatdate(second, usegmt=True).encode()
