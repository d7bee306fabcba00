"""One request and its answer, as the connection fills it in and as whoever asked reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

    from gateway.adapters.http.faults import UpstreamFault
    from gateway.core.headers import Field

NEVER: Final = float("inf")


class Exchange:
    """One request and its answer. *answered* resolves when the head is here, or fails with an UpstreamFault.

    *deadline* is on the loop's clock. *framed* says that the answer declares its own end (by length or chunks);
    one that does not ends with the connection.
    """

    __slots__ = (
        "answered",
        "bodiless",
        "buffered",
        "chunks",
        "complete",
        "deadline",
        "fault",
        "fields",
        "framed",
        "idle_s",
        "length",
        "reason",
        "status",
        "total_deadline",
        "touched",
        "wanted",
    )

    def __init__(self, answered: asyncio.Future[None], *, bodiless: bool, idle_s: float, total_deadline: float) -> None:
        """Begin an exchange; *bodiless* when the answer to this method never has a body (HEAD)."""
        self.answered = answered
        self.bodiless = bodiless
        self.idle_s = idle_s
        self.total_deadline = total_deadline
        self.deadline = total_deadline
        self.status = 0
        self.reason = b""
        self.fields: list[Field] = []
        self.length: int | None = None
        self.framed = False
        self.chunks: list[bytes] = []
        self.buffered = 0
        self.complete = False
        self.touched = False
        self.fault: UpstreamFault | None = None
        self.wanted: asyncio.Future[None] | None = None

    def expect_within(self, seconds: float, now: float) -> None:
        """Move the deadline to *seconds* from *now*, never past the total."""
        self.deadline = min(self.total_deadline, now + seconds)

    def wake(self) -> None:
        """Tell whoever waits that the head, more of the body, the end, or a fault is here."""
        if not self.answered.done():
            if self.fault is not None:
                self.answered.set_exception(self.fault)
            else:
                self.answered.set_result(None)
        elif self.wanted is not None and not self.wanted.done():
            self.wanted.set_result(None)
