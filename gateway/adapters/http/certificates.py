"""TLS towards upstreams: what we trust and who we are, from files that are read again when they have changed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from gateway.settings.client_tls import client_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from gateway.core.upstreams import Tls

LOOK_S: Final = 5.0

log = structlog.get_logger()


def make_context(tls: Tls) -> ssl.SSLContext:
    """Make the context for *tls*; raises ValueError, which names the file and shows nothing of it."""
    return client_context(tls.ca, tls.certificate, tls.key, verify=tls.verify)


async def keep_current(name: str, tls: Tls, use: Callable[[ssl.SSLContext], None], look_s: float = LOOK_S) -> None:
    """Call *use* with a new context whenever the files of *tls* have changed, until cancelled.

    Files that cannot be used change nothing, and are looked at again.
    """
    known = await asyncio.to_thread(_stamps, tls)
    while True:
        await asyncio.sleep(look_s)
        now = await asyncio.to_thread(_stamps, tls)
        if now == known:
            continue
        known = now
        try:
            context = await asyncio.to_thread(make_context, tls)
        except ValueError as error:
            log.warning("certificates not changed", upstream=name, reason=str(error))
        else:
            log.info("certificates changed", upstream=name)
            use(context)


def _stamps(tls: Tls) -> tuple[tuple[int, int, int] | None, ...]:
    """Give what changes when a file does; a replaced file has another inode."""
    stamps: list[tuple[int, int, int] | None] = []
    for file in (tls.ca, tls.certificate, tls.key):
        try:
            status = None if file is None else Path(file).stat()
        except OSError:
            status = None
        stamps.append(None if status is None else (status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(stamps)
