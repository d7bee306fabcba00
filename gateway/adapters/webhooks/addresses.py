"""Where the name of a receiver leads: all of its addresses, or none if one of them may not be called.

aiohttp connects to the addresses that are given here and asks nobody again, so that what was judged is what is
connected to, whatever the name leads to a moment later (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

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


class JudgedNames(AbstractResolver):
    """Resolves names for aiohttp, and refuses those that lead to an address that is not *allowed*, also among others.

    Addresses that stand in a URL do not come here; they are judged with the URL (`core/webhook_urls.py`).
    """

    def __init__(self, look_up: Resolve, allowed: Allowed) -> None:
        """Take who knows names, and what is allowed."""
        self._look_up = look_up
        self._allowed = allowed

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002  # the signature is aiohttp's
    ) -> list[ResolveResult]:
        """Give the addresses of *host*, all of them allowed; raises AddressNotAllowed and OSError."""
        addresses = [ip_address(text) for text in await self._look_up(host)]
        if not all(map(self._allowed, addresses)):
            raise AddressNotAllowed
        return [_result(host, port, address) for address in addresses]

    async def close(self) -> None:
        """Nothing is held."""


def _result(host: str, port: int, address: IPv4Address | IPv6Address) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=str(address),
        port=port,
        family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
