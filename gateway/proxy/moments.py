"""Moments: the time of day as requests need it, in text, without formatting the same second twice."""

from __future__ import annotations

from email.utils import formatdate
from time import gmtime, strftime, time


class Moments:
    """Formats Unix seconds; the text of the last second is kept."""

    __slots__ = ("_date", "_second", "_stamp")

    def __init__(self) -> None:
        """Start with no second known."""
        self._second = -1
        self._stamp = ""
        self._date = b""

    def now(self) -> float:
        """Give the Unix time in seconds."""
        return time()

    def stamp(self, now: float) -> str:
        """Write `YYYY-MM-DDTHH:MM:SS.mmmZ`."""
        second = int(now)
        if second != self._second:
            self._turn(second)
        return f"{self._stamp}.{int((now - second) * 1000):03d}Z"

    def date(self, now: float) -> bytes:
        """Write the value of a Date field (RFC 9110 section 6.6.1)."""
        second = int(now)
        if second != self._second:
            self._turn(second)
        return self._date

    def _turn(self, second: int) -> None:
        self._second = second
        self._stamp = strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))
        self._date = formatdate(second, usegmt=True).encode()
