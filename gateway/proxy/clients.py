"""Clients: their connections in both tiers, how many an address may have, and the end of those that keep us waiting.

One timer looks at all connections once a second. A request costs nothing here, a connection its beginning and its end.
"""

from __future__ import annotations

import asyncio
import resource
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway.core.network import limiter_subject
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from gateway.core.snapshot import ConnectionLimits
    from gateway.live import Live
    from gateway.telemetry.telemetry import Telemetry

SWEEP_S: Final = 1.0


class Tier(Protocol):
    """The protocol of a connection, as the sweep sees it."""

    def waited_too_long(self, now: float, limits: ConnectionLimits) -> str | None:
        """End the connection if its client owes a request for too long, and name the limit if that was a fault."""


class Client:
    """One connection: its transport, the address at its other end, the protocol that has it now, what it did so far."""

    __slots__ = ("peer", "requests", "subject", "tier", "transport", "unsent", "unsent_since")

    def __init__(self, transport: asyncio.Transport, peer: str, subject: str | None, tier: Tier, now: float) -> None:
        """Begin; *peer* is its address, *subject* whom the connection is counted for, None where it is not counted."""
        self.transport = transport
        self.peer = peer
        self.subject = subject
        self.tier = tier
        self.requests = 0
        self.unsent = 0
        self.unsent_since = now


class Clients:
    """All client connections of a worker. *requests_max* is how many requests one may carry; 0 is no limit."""

    def __init__(self, live: Live[Any], telemetry: Telemetry) -> None:
        """Start with none. Clients get half of the file descriptors: a request may need one more to its upstream."""
        self._live = live
        self._telemetry = telemetry
        self._all: dict[asyncio.BaseTransport, Client] = {}
        self._by_subject: dict[str, int] = {}
        self._room = all_descriptors() // 2
        self._loop = asyncio.get_running_loop()
        self._sweeper: asyncio.TimerHandle | None = None
        self._ending = False
        self.requests_max = live.current.connection_limits.requests_max

    def opened(self, transport: asyncio.Transport, tier: Tier, announced: str | None = None) -> Client | None:
        """Take a connection in, or its change of tier; None if there are too many, and it is closed.

        *announced* is the address at its other end where a balancer told it.
        """
        known = self._all.get(transport)
        if known is not None:
            known.tier = tier
            return known
        peername = transport.get_extra_info("peername")
        peer = announced or (peername[0] if isinstance(peername, tuple) else "")
        # Nobody is counted on a Unix socket, nor a trusted proxy, which has many clients.
        subject = limiter_subject(peer) if peer and not self.trusts(peer) else None
        count = 0 if subject is None else self._by_subject.get(subject, 0)
        if len(self._all) >= self._room:
            self._refuse(transport, "descriptors")
            return None
        if subject is not None:
            if count >= self.limits.per_address_max:
                self._refuse(transport, "address")
                return None
            self._by_subject[subject] = count + 1
        client = self._all[transport] = Client(transport, peer, subject, tier, self._loop.time())
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)
        return client

    def lost(self, client: Client) -> None:
        """Forget a connection that has ended."""
        if self._all.pop(client.transport, None) is None or client.subject is None:
            return
        rest = self._by_subject[client.subject] - 1
        if rest:
            self._by_subject[client.subject] = rest
        else:
            del self._by_subject[client.subject]

    def wind_down(self) -> None:
        """Have every connection end with its next request."""
        self._ending, self.requests_max = True, 1

    @property
    def limits(self) -> ConnectionLimits:
        """The bounds that are in force now."""
        return self._live.current.connection_limits

    def trusts(self, peer: str) -> bool:
        """Say whether *peer* is a proxy of ours."""
        return peer in self._live.current.trusted_proxies

    def has_room(self, more: int) -> bool:
        """Say whether another connection may come in besides *more* that are about to."""
        return len(self._all) + more < self._room

    def count_ended(self, reason: str) -> None:
        """Count a connection that was cut."""
        self._telemetry.add(metrics.CONNECTIONS_ENDED, 1, reason)

    def _refuse(self, transport: asyncio.Transport, reason: str) -> None:
        self.count_ended(reason)
        transport.abort()

    def _sweep(self) -> None:
        self._sweeper = None
        now, limits = self._loop.time(), self.limits
        self.requests_max = 1 if self._ending else limits.requests_max
        for client in list(self._all.values()):
            reason = self._unread(client, now, limits) or client.tier.waited_too_long(now, limits)
            if reason is not None:
                self.count_ended(reason)
        if self._all:
            self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    @staticmethod
    def _unread(client: Client, now: float, limits: ConnectionLimits) -> str | None:
        """End a connection whose client takes nothing of what waits for it; a buffer that changes is being read."""
        unsent = client.transport.get_write_buffer_size()
        if unsent != client.unsent:
            client.unsent, client.unsent_since = unsent, now
        elif unsent and now - client.unsent_since >= limits.unread_s:
            client.transport.abort()
            return "unread"
        return None


def all_descriptors() -> int:
    """Allow this process as many file descriptors as it may have, and give that number."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most
