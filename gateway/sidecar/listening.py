"""Where decisions are asked for: paths of the internal listener, and a Unix socket with the same."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.sidecar.decisions import Decisions

FIELDS_MAX: Final[dict[str, Any]] = {"max_line_size": 131_072, "max_field_size": 131_072, "max_headers": 2000}
"""Bounds above those that the proxy and our own settings have: what is too long is refused by its own name."""
BACKLOG: Final = 1024
SOCKET_MODE: Final = 0o660
"""For the gateway's user and group: whoever can connect may ask for any decision."""


def decision_routes(decisions: Decisions, endpoint: str) -> list[web.RouteDef]:
    """Give the routes of *decisions*: the endpoint and everything below it, with any method."""
    return [web.route("*", endpoint, decisions), web.route("*", endpoint + "/{rest:.*}", decisions)]


async def listen_on_socket(runner: web.AppRunner, path: Path) -> None:
    """Listen on the Unix socket *path* too, in the place of one that a worker left behind; raises OSError."""
    bound = _bound(path)
    await web.SockSite(runner, bound, backlog=BACKLOG).start()


def _bound(path: Path) -> socket.socket:
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
