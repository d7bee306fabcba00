"""Dialling: a new connection to an address, with TLS where the target wants it.

Where a name stands for several addresses, one that does not answer at once is not waited for: the next one is tried
beside it, and the first to answer is taken (RFC 8305, by aiohappyeyeballs).
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import ssl
from typing import TYPE_CHECKING, Final

from aiohappyeyeballs import start_connection

from gateway.adapters.http.connection import UpstreamConnection
from gateway.adapters.http.faults import DescriptorsExhausted, UpstreamUnreachable, UpstreamUntrusted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.adapters.http.endpoint import Endpoint

NEXT_ADDRESS_S: Final = 0.25
DESCRIPTORS_KEPT: Final = 16
"""The last sixteenth of the file descriptors is not for upstreams: clients, operators, stores and the journal go on."""


class Dialler:
    """Connects for one upstream, which *name* is in messages; *tls* is used for targets that speak it."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, server_name: str | None) -> None:
        """Prepare; certificates are for *server_name* rather than for the target's host if it is given."""
        self._name = name
        self._loop = loop
        self._server_name = server_name
        _, descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._last_descriptor = descriptors - descriptors // DESCRIPTORS_KEPT
        self._dialling = 0
        self.tls: ssl.SSLContext | None = None

    async def dial(
        self, first: Endpoint, others: Sequence[Endpoint], connect_s: float
    ) -> tuple[Endpoint, UpstreamConnection]:
        """Connect to *first*, or to one of *others* of the same target; gives which one it was.

        Raises UpstreamUnreachable, UpstreamUntrusted and DescriptorsExhausted.
        """
        target = first.target
        context = self.tls if target.tls else None
        server_name = (self._server_name or target.host) if context else None
        reached = first
        self._dialling += 1
        try:
            self._require_descriptor()
            async with asyncio.timeout(connect_s):
                if target.path is not None:
                    _, connection = await self._loop.create_unix_connection(self._connection, first.address)
                elif not others:
                    _, connection = await self._loop.create_connection(
                        self._connection, first.address, target.port, ssl=context, server_hostname=server_name
                    )
                else:
                    candidates = (first, *others)
                    sock = await start_connection(
                        [_address_info(one) for one in candidates], happy_eyeballs_delay=NEXT_ADDRESS_S
                    )
                    peer = sock.getpeername()[0]
                    reached = next((one for one in candidates if one.address == peer), first)
                    _, connection = await self._loop.create_connection(
                        self._connection, sock=sock, ssl=context, server_hostname=server_name
                    )
        except ssl.SSLError as error:
            raise UpstreamUntrusted(f"no TLS with upstream {self._name}: {type(error).__name__}") from error
        except (OSError, RuntimeError) as error:  # uvloop says RuntimeError for some failures of sockets.
            if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
                raise DescriptorsExhausted(f"no file descriptor is left for upstream {self._name}") from error
            raise UpstreamUnreachable(f"cannot connect to upstream {self._name}: {_why(error)}", _why(error)) from error
        finally:
            self._dialling -= 1
        return reached, connection

    def _require_descriptor(self) -> None:
        """See which file descriptor is next: the lowest free number is given, so the highest ones are the last ones."""
        probe = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.close(probe)
        # Whoever dials may not have got one yet.
        if probe + self._dialling >= self._last_descriptor:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def _connection(self) -> UpstreamConnection:
        return UpstreamConnection(self._loop)


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    return "refused" if isinstance(error, ConnectionRefusedError) else "other"


def _address_info(one: Endpoint) -> tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]:
    if ":" in one.address:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (one.address, one.target.port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (one.address, one.target.port)
