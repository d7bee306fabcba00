"""Which TCP ports of this machine are free, and whether something answers on one."""

from __future__ import annotations

import asyncio
import random
import socket

LOOPBACK = "127.0.0.1"
_CANDIDATES = range(10240, 32768)
_ATTEMPTS = 100


def is_free(port: int) -> bool:
    """Say whether *port* can be listened on. Without SO_REUSEPORT, so that another gateway on it is noticed."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_port() -> int:
    """A free port below the range from which the kernel takes the ports of outgoing connections.

    A port from inside that range could be taken by any connection between this call and its use.

    Raises OSError when none was found.
    """
    for port in random.sample(_CANDIDATES, _ATTEMPTS):
        if is_free(port):
            return port
    message = "no free TCP port"
    raise OSError(message)


async def answers_ok(port: int, path: str, timeout_s: float) -> bool:
    """Say whether GET *path* on the loopback *port* is answered 200 within *timeout_s*."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\nConnection: close\r\n\r\n".encode())
                status_line = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return status_line.split()[1:2] == [b"200"]
