"""The one mutable cell of the data plane: the current snapshot and its upstreams, replaced together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.snapshot import Snapshot

Upstream = TypeVar("Upstream")


class Live(Generic[Upstream]):
    """Holds the snapshot in force, and by name the upstreams that it speaks of.

    A request reads both once, at its beginning and without a wait between, so that a reload never splits a request.
    """

    __slots__ = ("current", "upstreams")

    def __init__(self, snapshot: Snapshot, upstreams: Mapping[str, Upstream]) -> None:
        """Start with *snapshot*."""
        self.current = snapshot
        self.upstreams = upstreams

    def replace(self, snapshot: Snapshot, upstreams: Mapping[str, Upstream]) -> None:
        """Go over to *snapshot* for all requests that begin from now on."""
        self.current = snapshot
        self.upstreams = upstreams
