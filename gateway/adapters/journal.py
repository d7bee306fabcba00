"""The usage journal: an append-only file per worker, written before the answers of a loop turn leave.

One line a record: the CRC-32 of the text in eight hex digits, a space, the text. What the kernel has taken survives the
death of the process; what power loss can take is set by the fsync policy. A segment belongs to the process that holds
its lock; the lock of a dead one is free, and whoever finds it ships it to the end and deletes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from pathlib import Path

SUFFIX: Final = ".journal"
BATCH_BYTES: Final = 256 * 1024
_HEADER: Final = 9
_PROBE_BYTES: Final = 64 * 1024

log = structlog.get_logger()


class JournalError(Exception):
    """The journal's directory cannot be used; the message says what to do."""


def _frame(text: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(text), text)


class Journal:
    """Collects the records and answers of a loop turn, and lets the records go first.

    *dropped* counts records that the disk did not take; the answers leave all the same. *over* is set by whoever
    watches how much room all journals take.
    """

    def __init__(self, directory: Path, name: str, *, segment_max_bytes: int, fsync_always: bool = False) -> None:
        """Open a new segment named after *name*; raises JournalError when the directory cannot be written."""
        self._loop = asyncio.get_running_loop()
        self._directory = directory
        self._name = name
        self._segment_max_bytes = segment_max_bytes
        self._fsync_always = fsync_always
        self._records: list[bytes] = []
        self._answers: list[tuple[asyncio.Transport, bytes]] = []
        self._scheduled = False
        self._serial = 0
        self.failing = False
        self.over = False
        self.appended = 0
        self.dropped = 0
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._open()
        except OSError as error:
            message = f"cannot write usage events to {directory}: {error.strerror}; check usage.journal.directory"
            raise JournalError(message) from error

    @property
    def segment(self) -> Path:
        """The file that is written at the moment."""
        return self._path

    @property
    def size(self) -> int:
        """How many bytes of it are complete records."""
        return self._size

    @property
    def full(self) -> bool:
        """Say whether records are, or may soon be, lost for want of room."""
        return self.failing or self.over

    def append(self, record: bytes) -> None:
        """Record a text without line ends, by the end of this loop turn and before any answer queued after it."""
        self._records.append(_frame(record))
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def answer(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write *data* to a client once all records so far are in the file."""
        self._answers.append((transport, data))
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write the records, then the answers."""
        self._scheduled = False
        if self._records:
            records, self._records = self._records, []
            self._write(b"".join(records), len(records))
        if self._answers:
            answers, self._answers = self._answers, []
            for transport, data in answers:
                if not transport.is_closing():
                    transport.write(data)

    def sync(self) -> None:
        """Ask the disk to keep what was written (blocking)."""
        os.fdatasync(self._file)

    def probe(self) -> None:
        """Find out whether a failing journal has room again, by a write that is taken back."""
        try:
            written = os.write(self._file, b"\n" * _PROBE_BYTES)
            os.ftruncate(self._file, self._size)
            self.failing = written < _PROBE_BYTES
        except OSError as error:
            log.debug("usage journal still failing", reason=error.strerror)

    def rotate(self) -> None:
        """Go on in a new segment; raises OSError when there cannot be one, and goes on in the old one."""
        self.flush()
        old = self._file
        self._open()
        os.close(old)

    def close(self) -> None:
        """Write what is left and release the segment."""
        self.flush()
        if self._fsync_always:
            self.sync()
        os.close(self._file)

    def _open(self) -> None:
        path = self._directory / f"{self._name}-{self._serial + 1:06d}{SUFFIX}"
        # Locked before it has its name: whoever finds an unlocked segment ships it and deletes it.
        draft = path.with_suffix(".new")
        file = os.open(draft, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.rename(path)
        except OSError:
            os.close(file)
            draft.unlink(missing_ok=True)
            raise
        self._serial += 1
        self._path, self._file, self._size = path, file, 0
        self._rotate_at = self._segment_max_bytes

    def _write(self, data: bytes, count: int) -> None:
        try:
            written = os.write(self._file, data)
            if written < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self._fsync_always:
                os.fdatasync(self._file)
        except OSError as error:
            self._drop(count, error)
            return
        self.failing = False
        self._size += written
        self.appended += count
        if self._size >= self._rotate_at:
            self._rotate_if_possible()

    def _rotate_if_possible(self) -> None:
        try:
            self.rotate()
        except OSError as error:
            self._rotate_at = self._size + self._segment_max_bytes
            log.warning("usage journal not rotated", journal=str(self._path), reason=error.strerror)

    def _drop(self, count: int, error: OSError) -> None:
        """Count what was lost, and cut off what was half written, so that the next record starts a line."""
        self.dropped += count
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            log.exception("usage journal cannot be repaired", journal=str(self._path))
        if not self.failing:
            self.failing = True
            log.error("usage events dropped", journal=str(self._path), reason=error.strerror)


@dataclass(frozen=True, slots=True)
class Batch:
    """The texts of sound records read from a segment, up to *end*; *corrupt* others were passed over."""

    records: list[bytes]
    end: int
    corrupt: int


def read_batch(path: Path, start: int, end: int | None = None, *, limit: int = BATCH_BYTES) -> Batch:
    """Read records from byte *start*, about *limit* bytes, up to *end* or, in an abandoned segment, to the file's end.

    A last line that has no end was torn when its writer died, and is corrupt. Raises OSError.
    """
    with path.open("rb") as file:
        stop = os.fstat(file.fileno()).st_size if end is None else end
        file.seek(start)
        data = file.read(min(limit, max(stop - start, 0)))
        if start + len(data) < stop and not data.endswith(b"\n"):
            data += file.readline()
    records: list[bytes] = []
    corrupt = 0
    for line in data.split(b"\n"):
        if not line:
            continue
        text = line[_HEADER:]
        if text and line[:_HEADER] == b"%08x " % zlib.crc32(text):
            records.append(text)
        else:
            corrupt += 1
    return Batch(records, start + len(data), corrupt)


def abandoned(directory: Path, mine: Path) -> list[Path]:
    """List segments whose writer is gone, oldest first."""
    return [path for path in sorted(directory.glob(f"*{SUFFIX}")) if path != mine and _is_free(path)]


def _is_free(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(file)
    return True


def delete_segment(path: Path) -> None:
    """Delete a segment, unless somebody did, and then what sinks noted beside it; raises OSError."""
    path.unlink(missing_ok=True)
    for note in path.parent.glob(f"{path.name}.*"):
        note.unlink(missing_ok=True)


def total_size(directory: Path) -> int:
    """Add up the bytes of all segments; raises OSError."""
    size = 0
    for path in directory.glob(f"*{SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def count_records(path: Path, start: int) -> int:
    """Count the records from byte *start* on, sound or not; raises OSError."""
    with path.open("rb") as file:
        file.seek(start)
        return sum(block.count(b"\n") for block in iter(lambda: file.read(BATCH_BYTES), b""))
