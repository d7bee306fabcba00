"""Invalidating: drops from the key cache what changed in Postgres, and all trust in it when changes were missed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from gateway.adapters.memory.keycache import KeyCache

_DIGEST: Final = re.compile("[0-9a-f]{64}")

log = structlog.get_logger()


class Invalidator:
    """Tells the key cache what a KeyChangeListener hears."""

    def __init__(self, keys: KeyCache) -> None:
        """Take the cache."""
        self._keys = keys

    def on_change(self, payload: str) -> None:
        """Drop what *payload* names; what is not understood may be a newer version's word for any change."""
        match payload.partition(":"):
            case ("key", ":", key_id):
                self._keys.drop_key(key_id)
            case ("secret", ":", name) if _DIGEST.fullmatch(name):
                self._keys.drop_secret(bytes.fromhex(name))
            case ("secrets", ":", "many"):
                self._keys.drop_absent()
            case _:
                log.warning("key change not understood", payload=payload[:100])
                self._keys.suspect_all()

    def on_resync(self) -> None:
        """Read every key again before use: changes between two connections were not heard."""
        self._keys.suspect_all()

    def on_lost(self) -> None:
        """Read every key again before use, as far as Postgres answers."""
        self._keys.suspect_all()
