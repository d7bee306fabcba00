"""Releasing: a segment of the journal is deleted when every sink has all of it, and not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.adapters.journal import delete_segment

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class SegmentRelease:
    """Keeps in mind which of *sinks* have which finished segments, as far as this worker knows."""

    def __init__(self, sinks: Iterable[str]) -> None:
        """Take the names of all sinks."""
        self._sinks = frozenset(sinks)
        self._having: dict[Path, set[str]] = {}

    def shipped(self, path: Path, sink: str) -> None:
        """Note that *sink* has all of the segment, and delete it when it was the last."""
        having = self._having.setdefault(path, set())
        having.add(sink)
        if having >= self._sinks:
            delete_segment(path)
            del self._having[path]

    def has(self, path: Path, sink: str) -> bool:
        """Say whether *sink* is known to have all of the segment."""
        return sink in self._having.get(path, ())

    def forget_all_but(self, kept: set[Path]) -> None:
        """Forget the segments that are not *kept*. One that is forgotten too early is only looked at again."""
        self._having = {path: sinks for path, sinks in self._having.items() if path in kept}
