"""Positions beside the journal: makes a usage sink of any publisher, with each event sent at least once.

How far a segment has been sent stands in a file of its own, replaced as a whole after every batch. Who dies between the
two sends the batch again, and readers know its events by their ids. One worker at a time writes to a sink.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from typing import TYPE_CHECKING, Final

import structlog

from gateway.core.envelopes import NotAnEvent, envelope
from gateway.core.webhook_events import is_webhook_event
from gateway.ports import SinkDown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from gateway.ports import EventPublisher

PUBLISH_TIMEOUT_S: Final = 10.0
LOCK_TIMEOUT_S: Final = 2 * PUBLISH_TIMEOUT_S
LOCK_LOOK_S: Final = 0.01
PIECE: Final = 50

log = structlog.get_logger()


class PositionedSink:
    """Sends events as CloudEvents from *source* through *publisher*; implements the UsageSink port.

    The positions of the journals in *directory* are kept there, in files that end in the sink's *name*.
    """

    def __init__(self, name: str, publisher: EventPublisher, directory: Path, source: str) -> None:
        """Take the publisher; the positions of segments that are gone are forgotten."""
        self._name = name
        self._publisher = publisher
        self._directory = directory
        self._source = source
        self.refused = 0
        for path in directory.glob(f"*.journal.{name}"):
            if not path.with_suffix("").exists():
                path.unlink(missing_ok=True)

    async def position(self, journal: str) -> int:
        """Give the byte up to which *journal* has been sent; raises SinkDown."""
        try:
            return await asyncio.to_thread(_read, self._file(journal))
        except OSError as error:
            raise self._unusable(error) from error

    async def write(self, journal: str, start: int, end: int, events: Sequence[bytes]) -> int:
        """Send what lies between bytes *start* and *end* of *journal*, and give the position after; raises SinkDown.

        When the stored position is not *start* nothing is sent, and the stored position is given.
        """
        try:
            async with self._alone():
                stored = await asyncio.to_thread(_read, self._file(journal))
                if not stored and not (self._directory / journal).exists():
                    return end  # Every sink had all of it, so that it was deleted meanwhile.
                if stored != start:
                    return stored
                events = [event for event in events if not is_webhook_event(event)]
                envelopes = await self._envelopes(events)
                await self._publish(envelopes)
                await asyncio.to_thread(_replace, self._file(journal), end)
        except OSError as error:
            raise self._unusable(error) from error
        refused = len(events) - len(envelopes)
        if refused:
            self.refused += refused
            log.error("usage events refused", sink=self._name, journal=journal, events=refused)
        return end

    async def close(self) -> None:
        """Let go of the publisher."""
        await self._publisher.close()

    async def _publish(self, envelopes: list[bytes]) -> None:
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                await self._publisher.publish(envelopes)
        except TimeoutError as error:
            message = f"the sink {self._name} did not take events within {PUBLISH_TIMEOUT_S:.0f} s"
            raise SinkDown(message) from error

    async def _envelopes(self, events: Sequence[bytes]) -> list[bytes]:
        envelopes = []
        for number, event in enumerate(events):
            if number % PIECE == 0:
                await asyncio.sleep(0)  # Requests wait for no more than a piece, about half a millisecond.
            with contextlib.suppress(NotAnEvent):
                envelopes.append(envelope(event, self._source))
        return envelopes

    def _file(self, journal: str) -> Path:
        return self._directory / f"{journal}.{self._name}"

    def _unusable(self, error: OSError) -> SinkDown:
        what = f"cannot keep positions of the sink {self._name} beside the journal: {error.strerror}"
        return SinkDown(f"{what}; check usage.journal.directory")

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Keep the other workers of this instance from writing to the sink; raises SinkDown when one goes on."""
        file = os.open(self._directory / f"{self._name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            async with asyncio.timeout(LOCK_TIMEOUT_S):
                while not _locked(file):  # noqa: ASYNC110  # what it waits for is another process
                    await asyncio.sleep(LOCK_LOOK_S)
        except BaseException as error:
            os.close(file)
            if isinstance(error, TimeoutError):
                raise SinkDown(f"another worker has been writing to the sink {self._name} all the time") from error
            raise
        try:
            yield
        finally:
            os.close(file)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> int:
    """Read a position; one that is damaged counts as none, so that everything is sent again. Raises OSError."""
    try:
        return int(path.read_bytes())
    except FileNotFoundError:
        return 0
    except ValueError:
        log.warning("position damaged", file=path.name)
        return 0


def _replace(path: Path, position: int) -> None:
    """Put *position* in the place of the one before, durably; raises OSError."""
    draft = path.with_name(f"{path.name}.new")
    with draft.open("wb") as file:
        file.write(b"%d" % position)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
