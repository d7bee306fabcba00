"""Where decisions are asked for: paths of the internal listener, and a Unix socket with the same."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.sidecar.decisions import Decisions

_FIELDS_MAX: Final[dict[str, Any]] = {"max_line_size": 131_072, "max_field_size": 131_072, "max_headers": 2000}
"""Bounds above those that the proxy and our own settings have: what is too long is refused by its own name."""
BACKLOG: Final = 1024
SHUTDOWN_S: Final = 1.0
SOCKET_MODE: Final = 0o660
"""For the gateway's user and group: whoever can connect may ask for any decision."""


def decision_routes(decisions: Decisions, endpoint: str) -> list[web.RouteDef]:
    """Give the routes of *decisions*: the endpoint and everything below it, with any method."""
    return [web.route("*", endpoint, decisions), web.route("*", endpoint + "/{rest:.*}", decisions)]


@asynccontextmanager
async def running(application: web.Application, path: Path | None) -> AsyncIterator[web.AppRunner]:
    """Run the internal *application*, on the Unix socket *path* if there is one; raises OSError."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_S, **_FIELDS_MAX)
    await runner.setup()
    try:
        if path is not None:
            await web.SockSite(runner, _bound(path), backlog=BACKLOG).start()
        yield runner
    finally:
        await runner.cleanup()


def _bound(path: Path) -> socket.socket:
    """Bind a socket, in the place of one that a worker left behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_socket():
        path.unlink()
    bound = socket.socket(socket.AF_UNIX)
    try:
        bound.bind(str(path))
        path.chmod(SOCKET_MODE)
    except OSError:
        bound.close()
        raise
    bound.setblocking(False)  # noqa: FBT003  # the signature is the socket's
    return bound
