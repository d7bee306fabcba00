"""Reports over syslog: proxies such as nginx write a line of JSON for each request they carried to a datagram socket.

Datagrams get lost, and nobody learns of it: what the kernel has no room for while we are busy it drops, so neither
memory nor the turns of the loop grow with what is sent. Whoever can send to the socket can report, so that it is for
this machine, or for a network of proxies alone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket

    from gateway.accounting.outcomes import Outcomes

DATAGRAM_MAX: Final = 2048
"""Bytes that are read of a datagram; what a proxy writes of a request is a few hundred."""
TURN_MAX: Final = 64
"""Datagrams that are taken before other work has its turn."""


class SyslogReports:
    """Reads a socket that all workers share, from `start` to `stop`."""

    def __init__(self, sock: socket.socket, outcomes: Outcomes) -> None:
        """Take a bound datagram socket that never blocks."""
        self._socket = sock
        self._outcomes = outcomes

    def start(self) -> None:
        """Begin to read."""
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._read)

    def stop(self) -> None:
        """Leave what comes to the other workers."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())

    def _read(self) -> None:
        for _ in range(TURN_MAX):
            try:
                datagram = self._socket.recv(DATAGRAM_MAX)
            except OSError:  # Nothing more is there, or another worker was faster.
                return
            self._outcomes.report_line(message_of(datagram))


def message_of(datagram: bytes) -> bytes:
    """Give the JSON behind what RFC 3164 puts before a message: priority, time, perhaps a host, and a tag."""
    return datagram[max(datagram.find(b"{"), 0) :]
