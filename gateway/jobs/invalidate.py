"""Invalidating: drops from the key cache what changed in Postgres, and all trust in it when changes were missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from gateway.adapters.memory.keycache import KeyCache

log = structlog.get_logger()


class Invalidator:
    """Tells the key cache what a KeyChangeListener hears."""

    def __init__(self, keys: KeyCache) -> None:
        """Take the cache."""
        self._keys = keys

    def on_change(self, payload: str) -> None:
        """Drop what *payload* names; what is not understood may be a newer version's word for any change."""
        kind, _, name = payload.partition(":")
        if kind == "key":
            self._keys.drop_key(name)
            return
        if kind == "secret":
            try:
                self._keys.drop_secret(bytes.fromhex(name))
            except ValueError:
                pass
            else:
                return
        log.warning("key change not understood", payload=payload[:100])
        self._keys.suspect_all()

    def on_resync(self) -> None:
        """Read every key again before use: changes between two connections were not heard."""
        self._keys.suspect_all()

    def on_lost(self) -> None:
        """Read every key again before use, as far as Postgres answers."""
        self._keys.suspect_all()
