"""Where decisions are asked for: paths of the internal listener, and a Unix socket with the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.sidecar.decisions import Decisions

FIELDS_MAX: Final[dict[str, Any]] = {"max_line_size": 131_072, "max_field_size": 131_072, "max_headers": 2000}
"""Bounds above those that the proxy and our own settings have: what is too long is refused by its own name."""
BACKLOG: Final = 1024


def decision_routes(decisions: Decisions, endpoint: str) -> list[web.RouteDef]:
    """Give the routes of *decisions*: the endpoint and everything below it, with any method."""
    return [web.route("*", endpoint, decisions), web.route("*", endpoint + "/{rest:.*}", decisions)]


def socket_site(runner: web.AppRunner, path: Path) -> web.UnixSite:
    """Make the site on a Unix socket, in the place of one that a worker left behind; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_socket():
        path.unlink()
    return web.UnixSite(runner, str(path), backlog=BACKLOG)
