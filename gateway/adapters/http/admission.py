"""Admission: how many requests an upstream may have at once, and a short queue for those that come on top.

What an upstream cannot take in time is refused at once, before its latency collapses for everybody.
"""

from __future__ import annotations

import asyncio
from collections import deque

from gateway.adapters.http.faults import UpstreamBusy


class Admission:
    """Counts places. A request may take one itself while *in_flight* is below *places*; otherwise it has to `wait`."""

    __slots__ = ("_name", "_queue_max", "_queue_s", "in_flight", "most", "places", "queue")

    def __init__(self, name: str, most: float, queue_max: int, queue_s: float) -> None:
        """Give *most* places, and let at most *queue_max* wait for *queue_s* each."""
        self._name = name
        self.queue: deque[asyncio.Future[None]] = deque()
        self._queue_max = queue_max
        self._queue_s = queue_s
        self.most = most
        self.places: float = most
        self.in_flight = 0

    @property
    def queued(self) -> int:
        """How many wait for a place."""
        return len(self.queue)

    async def wait(self) -> None:
        """Take a place, in the order of arrival if there is none; raises UpstreamBusy."""
        if self.in_flight < self.most:
            self.in_flight += 1
            return
        if len(self.queue) >= self._queue_max:
            raise UpstreamBusy(f"upstream {self._name} has all requests that it may have")
        place = asyncio.get_running_loop().create_future()
        self.queue.append(place)
        try:
            async with asyncio.timeout(self._queue_s):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self.leave()  # It was given in the very moment in which nobody wanted it any more.
            elif place in self.queue:
                self.queue.remove(place)
            if isinstance(error, TimeoutError):
                raise UpstreamBusy(f"upstream {self._name} had no place in time") from None
            raise

    def leave(self) -> None:
        """Give a place to whoever has waited longest, or back."""
        while self.queue:
            place = self.queue.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.in_flight -= 1
