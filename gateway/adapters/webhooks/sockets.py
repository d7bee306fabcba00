"""The sockets of one delivery, and the end of them, which a receiver cannot draw out."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohappyeyeballs import AddrInfoType


class Sockets:
    """The sockets of one delivery."""

    def __init__(self) -> None:
        """Begin with none."""
        self._opened: list[socket.socket] = []

    def open(self, address: AddrInfoType) -> socket.socket:
        """Open one for aiohttp to connect."""
        family, kind, protocol, *_ = address
        opened = socket.socket(family, kind, protocol)
        self._opened.append(opened)
        return opened

    def shut_down(self) -> None:
        """End all of it, both ways, without the end of TLS that is usual: a receiver could draw that out for long.

        What it still sends is answered with a reset (RFC 1122 section 4.2.2.13).
        """
        for opened in self._opened:
            with contextlib.suppress(OSError):  # It is closed already, or was never connected.
                opened.shutdown(socket.SHUT_RDWR)
