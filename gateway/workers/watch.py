"""Watching the settings file, for `gateway run --watch`: a change is one once the file has been left alone a moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LOOK_S: Final = 0.5


async def changes(path: Path, look_s: float = LOOK_S) -> AsyncIterator[None]:
    """Give something whenever the file at *path* is another one than before, and was the same at two looks."""
    known = before = await asyncio.to_thread(_version, path)
    while True:
        await asyncio.sleep(look_s)
        now = await asyncio.to_thread(_version, path)
        if now == before != known:
            known = now
            yield
        before = now


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
