"""TLS towards upstreams: what we trust and who we are, from files that are read again when they have changed."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.upstreams import Tls

LOOK_S: Final = 5.0

log = structlog.get_logger()


def make_context(tls: Tls) -> ssl.SSLContext:
    """Make the context for *tls*; raises ValueError, which names the file and shows nothing of it.

    Without a CA of its own those of the system are trusted. TLS 1.2 is the least, HTTP/1.1 the only protocol.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:  # ssl.SSLError is one.
        raise ValueError(f"cannot use {tls.ca_file}: {_reason(error)}; expected certificates in PEM") from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.certificate_file is not None:
        try:
            # An encrypted key would make OpenSSL ask on the terminal.
            context.load_cert_chain(tls.certificate_file, tls.key_file, password=str)
        except OSError as error:
            files = " and ".join(file for file in (tls.certificate_file, tls.key_file) if file)
            raise ValueError(
                f"cannot use {files}: {_reason(error)}; expected a certificate and its key in PEM"
            ) from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not in PEM").replace("_", " ").lower()
    return error.strerror or type(error).__name__


async def keep_current(name: str, tls: Tls, use: Callable[[ssl.SSLContext], None]) -> None:
    """Call *use* with a new context whenever the files of *tls* have changed, until cancelled.

    Files that cannot be used change nothing, and are looked at again.
    """
    known = await asyncio.to_thread(_stamps, tls)
    while True:
        await asyncio.sleep(LOOK_S)
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
    for file in (tls.ca_file, tls.certificate_file, tls.key_file):
        try:
            status = None if file is None else Path(file).stat()
        except OSError:
            status = None
        stamps.append(None if status is None else (status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(stamps)
