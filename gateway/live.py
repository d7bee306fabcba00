"""The one mutable cell of the data plane: the current snapshot, replaced whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.core.snapshot import Snapshot


class Live:
    """Holds the snapshot in force. A request reads it once, so that a reload never splits a request."""

    __slots__ = ("current",)

    def __init__(self, snapshot: Snapshot) -> None:
        """Start with *snapshot*."""
        self.current = snapshot
