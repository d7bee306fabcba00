"""Faults of an upstream: the ways in which asking one can go wrong, and in which it is not even asked."""

from __future__ import annotations


class UpstreamFault(Exception):
    """The upstream gave no usable answer. *kind* is a metric label."""

    kind = "closed"


class UpstreamUnreachable(UpstreamFault):
    """No connection could be made; not a byte was sent. *reason* is refused, timeout, name or other."""

    kind = "connect"

    def __init__(self, message: str, reason: str = "other") -> None:
        """Say what happened, and in one word why."""
        super().__init__(message)
        self.reason = reason


class UpstreamUntrusted(UpstreamFault):
    """There was no agreement on TLS: who the upstream is, who we are, or how to speak."""

    kind = "tls"
    reason = "tls"


class UpstreamClosed(UpstreamFault):
    """The connection ended before the answer did."""

    kind = "closed"


class UpstreamGarbled(UpstreamFault):
    """What came was not an answer in HTTP/1.1."""

    kind = "protocol"


class UpstreamTooSlow(UpstreamFault):
    """The upstream exceeded one of its timeouts."""

    kind = "timeout"


class UpstreamAway(UpstreamFault):
    """All addresses of the upstream are failing, so it was not asked; the next try is at most a second away."""

    kind = "away"


class UpstreamBusy(UpstreamFault):
    """The upstream has as many requests as it may have, and the queue is full or took too long."""

    kind = "busy"


class DescriptorsExhausted(UpstreamFault):
    """No file descriptor is left for a connection to the upstream; it was not asked, and is not to blame."""

    kind = "descriptors"
