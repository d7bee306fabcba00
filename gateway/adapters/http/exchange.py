"""One request and its answer, as the connection fills it in and as whoever asked reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    import asyncio

    from gateway.adapters.http.faults import UpstreamFault
    from gateway.core.headers import Field

NEVER: Final = float("inf")
_LENGTH_SIZE: Final = len(b"content-length")


class Exchange(Struct):
    """One request and its answer. *answered* resolves when the head is here, or fails with an UpstreamFault.

    *bodiless* is when the answer to this method never has a body (HEAD). *deadline* is on the loop's clock. With
    *upgrade* the answer may be 101; then *switched* is set, and what comes is not HTTP any more. *trailers* are the
    fields after the body.
    """

    answered: asyncio.Future[None]
    bodiless: bool
    idle_s: float
    deadline: float
    total_deadline: float
    upgrade: bool = False
    status: int = 0
    reason: bytes = b""
    fields: list[Field] = []
    chunks: list[bytes] = []
    buffered: int = 0
    complete: bool = False
    touched: bool = False
    switched: bool = False
    trailers: list[Field] | None = None
    fault: UpstreamFault | None = None
    wanted: asyncio.Future[None] | None = None

    @property
    def length(self) -> int | None:
        """The declared length of the body, None for chunks or until the close."""
        for name, value in self.fields:
            if len(name) == _LENGTH_SIZE and name.lower() == b"content-length":
                return int(value) if value.isdigit() else None
        return None

    @property
    def framed(self) -> bool:
        """Whether the answer declares its own end; one that does not ends with the connection."""
        if self.bodiless or self.status in (204, 304) or self.length is not None:
            return True
        return any(name.lower() == b"transfer-encoding" for name, _ in self.fields)

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
