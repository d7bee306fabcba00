"""Syncing: asks the disk now and then to keep the journal, where the fsync policy is `interval`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from gateway.adapters.journal import Journal

log = structlog.get_logger()


async def sync_journal(journal: Journal, interval_s: float) -> None:
    """Sync every *interval_s* until cancelled, in a thread, because a busy disk can take long."""
    synced = 0
    while True:
        await asyncio.sleep(interval_s)
        if journal.appended == synced:
            continue
        appended = journal.appended
        try:
            await asyncio.to_thread(journal.sync)
            synced = appended
        except OSError as error:
            log.warning("journal not synced", reason=error.strerror)
