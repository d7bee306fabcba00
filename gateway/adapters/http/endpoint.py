"""One address of a target, with its connections: those that carry a request, and those that wait for one."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from gateway.core.rotation import Condition

if TYPE_CHECKING:
    from gateway.adapters.http.connection import UpstreamConnection
    from gateway.core.upstreams import UpstreamTarget

IDLE_MAX_S: Final = 60.0


class Endpoint(Condition):
    """An address of *target*: an IP address, or the path of a Unix socket. The last used connection is used first.

    *connecting* counts the requests that wait for a new connection. At most *idle_max* connections are kept.
    """

    __slots__ = ("address", "busy", "connecting", "idle", "idle_max", "target", "weight")

    def __init__(self, target: UpstreamTarget, address: str, idle_max: int, *, watched: bool) -> None:
        """Begin without a connection. Answers of one that is *watched* may be failures too."""
        super().__init__(watched=watched)
        self.target = target
        self.address = address
        self.weight = target.weight
        self.idle: deque[UpstreamConnection] = deque()
        self.busy: set[UpstreamConnection] = set()
        self.connecting = 0
        self.idle_max = idle_max

    @property
    def in_flight(self) -> int:
        """How many requests are on their way here."""
        return len(self.busy) + self.connecting

    def reuse(self, now: float) -> UpstreamConnection | None:
        """Give a waiting connection that is still good."""
        oldest = now - IDLE_MAX_S
        while self.idle:
            connection = self.idle.pop()
            if connection.closed or not connection.reusable:
                continue
            if connection.idle_since < oldest:
                connection.abort()
                continue
            return connection
        return None

    def drop(self, connection: UpstreamConnection) -> None:
        """End a connection, whatever it carries."""
        self.busy.discard(connection)
        connection.exchange = None
        connection.abort()

    def take_connections(self, before: Endpoint) -> None:
        """Go on with the connections that wait at *before*, the last used ones if there are more than are kept."""
        while before.idle and len(self.idle) < self.idle_max:
            self.idle.appendleft(before.idle.pop())

    def close_idle(self) -> None:
        """End the connections that wait."""
        while self.idle:
            self.idle.pop().abort()

    def leave(self) -> None:
        """End the connections that wait now, and the others when they are given back."""
        self.idle_max = 0
        self.close_idle()
