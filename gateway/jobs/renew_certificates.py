"""Renewing: takes up certificates that were replaced on disk, without a reload."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.adapters.certificates import Certificates

INTERVAL_S: Final = 1.0


async def renew_certificates(all_certificates: Iterable[Certificates], interval_s: float = INTERVAL_S) -> None:
    """Look every *interval_s* until cancelled."""
    while True:
        await asyncio.sleep(interval_s)
        for certificates in all_certificates:
            await certificates.look()
