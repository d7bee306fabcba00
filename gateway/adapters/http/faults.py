"""Faults of an upstream: the three ways in which asking one can go wrong."""

from __future__ import annotations


class UpstreamFault(Exception):
    """The upstream gave no usable answer. *kind* is one of connect, closed, protocol, timeout (a metric label)."""

    kind = "closed"


class UpstreamUnreachable(UpstreamFault):
    """No connection could be made; not a byte was sent."""

    kind = "connect"


class UpstreamClosed(UpstreamFault):
    """The connection ended before the answer did."""

    kind = "closed"


class UpstreamGarbled(UpstreamFault):
    """What came was not an answer in HTTP/1.1."""

    kind = "protocol"


class UpstreamTooSlow(UpstreamFault):
    """The upstream exceeded one of its timeouts."""

    kind = "timeout"
