"""Accepting: what comes before the first request of a connection, where something does: who the client is, and TLS.

A balancer that only passes connections on says in a header where each came from (PROXY protocol), and is believed if it
is among the trusted proxies; from others no header is expected, and one is no HTTP. Headers and handshakes end in time
and are counted, neither of which asyncio's own server does.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any, Final

from gateway.core.proxy_protocol import TEXT, TEXT_MAX, NotProxyProtocol, announced_address, wanted

if TYPE_CHECKING:
    import ssl

    from gateway.proxy.server import PublicServer

TLS_CLOSE_S: Final = 2.0
ACCEPTED_AT_ONCE: Final = 64
AGAIN_S: Final = 0.2


class Accepting:
    """Accepts connections for *server* on a *listener*, introduces them, and hands them on."""

    def __init__(
        self, server: PublicServer, listener: socket.socket, tls: ssl.SSLContext | None, *, announced: bool
    ) -> None:
        """Accept from now on. With *announced*, connections from trusted proxies begin with a header."""
        self._server = server
        self._listener = listener
        self._tls = tls
        self._announced = announced
        self._introducing: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None
        listener.setblocking(False)  # noqa: FBT003  # the signature is the socket's
        self._loop.add_reader(listener.fileno(), self._accept)

    def close(self) -> None:
        """Accept no more; who is being introduced still comes in."""
        if self._listener.fileno() >= 0:
            self._pause()
            self._listener.close()

    async def settle(self, seconds: float) -> None:
        """Wait for those who are being introduced, so that none is overlooked when others are seen off."""
        if self._introducing:
            await asyncio.wait(self._introducing, timeout=seconds)

    def _pause(self) -> None:
        self._loop.remove_reader(self._listener.fileno())
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                made, peer = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:
                # There is no file descriptor for it: to look at once again would be to do nothing else.
                self._pause()
                self._again = self._loop.call_later(AGAIN_S, self._resume)
                return
            if not self._server.clients.has_room(len(self._introducing)):
                self._server.clients.count_ended("descriptors")
                made.close()
                continue
            task = self._loop.create_task(self._introduce(made, peer[0]))
            self._introducing.add(task)
            task.add_done_callback(self._introducing.discard)

    def _resume(self) -> None:
        self._again = None
        self._loop.add_reader(self._listener.fileno(), self._accept)

    async def _introduce(self, made: socket.socket, peer: str) -> None:
        """Hear who it is, shake hands, and let it in."""
        made.setblocking(False)  # noqa: FBT003  # the signature is the socket's
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server, reason = self._server, "proxy_header"
        within_s = server.clients.limits.handshake_s
        tls: dict[str, Any] = {}
        if self._tls is not None:
            tls = {"ssl": self._tls, "ssl_handshake_timeout": within_s, "ssl_shutdown_timeout": TLS_CLOSE_S}
        try:
            address = None
            if self._announced and server.clients.trusts(peer):
                async with asyncio.timeout(within_s):
                    address = await self._hear(made)
            reason = "handshake"
            await self._loop.connect_accepted_socket(lambda: server.protocol(address), made, **tls)
        except (ConnectionResetError, BrokenPipeError):
            made.close()
        except (OSError, NotProxyProtocol):  # TimeoutError and SSLError are OSErrors.
            server.clients.count_ended(reason)
            made.close()
        except BaseException:
            made.close()
            raise

    async def _hear(self, made: socket.socket) -> str | None:
        """Read the header, and nothing behind it; gives the client's address if it names one.

        Raises NotProxyProtocol and OSError.
        """
        header = b""
        while more := wanted(header):
            piece = await self._loop.sock_recv(made, more)
            if not piece:
                raise ConnectionResetError
            header += piece
            if more == 1 and header.startswith(TEXT) and piece != b"\n":
                # The rest of the line, as far as it is here.
                with contextlib.suppress(BlockingIOError):
                    ahead = made.recv(TEXT_MAX - len(header), socket.MSG_PEEK)
                    header += made.recv(ahead.find(b"\n") + 1 or len(ahead))
        return announced_address(header)
