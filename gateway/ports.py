"""Ports: protocols for what really has several implementations, and the faults that they may raise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.attempts import Attempt, Ending, Exceeded
    from gateway.core.bucket import Charges, Taken
    from gateway.core.keys import KeyRecord


class Fault(Exception):
    """Something outside the process failed. *code* is stable; the message says what to do next, without secrets."""

    code = "fault"


class KeySourceDown(Fault):
    """The store of keys does not answer."""

    code = "key_source_down"


class LimiterDown(Fault):
    """The limiter does not answer."""

    code = "limiter_down"


class SinkDown(Fault):
    """The sink of usage events does not answer."""

    code = "sink_down"


class KeySource(Protocol):
    """Where key records come from."""

    async def find(self, digest: bytes) -> KeyRecord | None:
        """Give the record of the key with this SHA-256, whatever its state; raises KeySourceDown."""
        ...


class Limiter(Protocol):
    """Takes charges from token buckets."""

    async def take(self, charges: Charges) -> Taken:
        """Take all of *charges* or none; raises LimiterDown."""
        ...


class LoginAttempts(Protocol):
    """Counts the login attempts that failed, or may yet."""

    async def begin(self, attempt: Attempt) -> Exceeded | None:
        """Let *attempt* begin and hold a place, unless a limit is used up; raises LimiterDown."""
        ...

    async def end(self, attempt: Attempt, ending: Ending) -> None:
        """Note how *attempt* ended, whether or not it began here; raises LimiterDown."""
        ...


class EventPublisher(Protocol):
    """A way out of the gateway for usage events."""

    async def publish(self, envelopes: Sequence[bytes]) -> None:
        """Send JSON texts without line ends, in order; raises SinkDown, after which some of them may have gone."""
        ...

    async def close(self) -> None:
        """Let go of what was opened, in bounded time."""
        ...


class UsageSink(Protocol):
    """Where usage events go, each at least once, and how far each journal has been written there.

    *refused* counts events that can never be written: they are passed over, and never block the others.
    """

    refused: int

    async def position(self, journal: str) -> int:
        """Give the byte up to which *journal* has been written; raises SinkDown."""
        ...

    async def write(self, journal: str, start: int, end: int, events: Sequence[bytes]) -> int:
        """Write the events between bytes *start* and *end*, and give the position after.

        Each is a JSON object (contract section 9). When the stored position is not *start* nothing is
        written, and the stored position is given. Raises SinkDown.
        """
        ...
