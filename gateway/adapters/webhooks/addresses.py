"""Where the name of a receiver leads: all of its addresses, or none if one of them may not be called.

The addresses that are given here are connected to, and nobody is asked again, so that what was judged is what is
called, whatever the name leads to a moment later (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiohappyeyeballs import AddrInfoType

THREADS_MAX: Final = 16

Allowed = Callable[[IPv4Address | IPv6Address], bool]
"""Says whether an address may be called."""

Resolve = Callable[[str], Awaitable[list[str]]]
"""Gives the addresses of a name, in the order of preference; raises OSError when there is none, or nobody knows."""


class AddressNotAllowed(OSError):
    """A name leads to an address that may not be called."""


class SystemNames:
    """Asks the system for the addresses of names, in threads of its own.

    Whoever names a receiver may also answer for its name, as slowly as they like: nobody else's look-ups wait for it.
    """

    def __init__(self) -> None:
        """Start nothing yet: threads start with the first names."""
        self._threads = ThreadPoolExecutor(THREADS_MAX, "webhook-names")

    async def __call__(self, name: str) -> list[str]:
        """Give the addresses of *name*, IPv6 and IPv4; raises OSError."""
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, name)
        return list(dict.fromkeys(found))

    def close(self) -> None:
        """Forget whoever is still being looked up."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(name: str) -> list[str]:
    try:
        return [str(address[0]) for *_, address in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except UnicodeError as error:  # A label of more than 63 characters.
        raise socket.gaierror(socket.EAI_NONAME, "not a name") from error


class AllowedAddresses:
    """Finds the addresses of hosts, and refuses hosts that lead to an address that is not *allowed*, also among others.

    Addresses that stand in a URL are judged here too, so that nobody is called who was not.
    """

    def __init__(self, look_up: Resolve, allowed: Allowed) -> None:
        """Take who knows names, and what is allowed."""
        self._look_up = look_up
        self._allowed = allowed

    async def of(self, host: str, port: int) -> list[AddrInfoType]:
        """Give the addresses of *host* to connect to, all of them allowed; raises AddressNotAllowed and OSError."""
        try:
            addresses = [ip_address(host)]
        except ValueError:
            addresses = [ip_address(text) for text in await self._look_up(host)]
        if not all(map(self._allowed, addresses)):
            raise AddressNotAllowed
        return [_info(address, port) for address in addresses]


def _info(address: IPv4Address | IPv6Address, port: int) -> AddrInfoType:
    if isinstance(address, IPv4Address):
        return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port)
    return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port, 0, 0)
