"""JSON lines: publishes to a file, a named pipe or standard output, whole lines only.

The file is opened for each batch, so that one that was renamed away is followed by a new one without being told. What
another process writes to the same pipe may come between two lines, never into one of up to 4 KiB.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from gateway.ports import SinkDown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STANDARD_OUTPUT: Final = "-"
WRITE_TIMEOUT_S: Final = 5.0
_STDOUT: Final = 1
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC


class JsonLinesPublisher:
    """Appends lines to *path*, or to standard output for `-`; implements the EventPublisher port."""

    def __init__(self, path: str, *, timeout_s: float = WRITE_TIMEOUT_S) -> None:
        """Open nothing yet; a batch may take *timeout_s*."""
        self._path = path
        self._timeout_s = timeout_s
        self._torn = False

    async def publish(self, envelopes: Sequence[bytes]) -> None:
        """Write *envelopes*, each as a line, and have the disk keep those in a file; raises SinkDown."""
        try:
            await asyncio.to_thread(self._write, envelopes)
        except BrokenPipeError as error:
            message = f"nobody reads {self._place} any more; start the gateway with a reader, or without json_lines"
            raise SinkDown(message) from error
        except TimeoutError as error:
            raise SinkDown(f"whoever reads {self._place} takes no more lines; let it go on reading") from error
        except OSError as error:
            message = f"cannot write to {self._place}: {error.strerror}; check usage.sinks.json_lines.path"
            raise SinkDown(message) from error

    async def close(self) -> None:
        """Let go; nothing is open between two batches."""

    @property
    def _place(self) -> str:
        return "standard output" if self._path == STANDARD_OUTPUT else self._path

    def _write(self, envelopes: Sequence[bytes]) -> None:
        deadline = time.monotonic() + self._timeout_s
        with self._opened() as file:
            status = os.fstat(file)
            is_file = stat.S_ISREG(status.st_mode)
            try:
                if self._torn:
                    self._write_all(file, b"\n", deadline)
                for lines in _packed(envelopes):
                    self._write_all(file, lines, deadline)
                if is_file:
                    os.fsync(file)
            except OSError:
                # A file can be put back to whole lines at once, a pipe only by ending the line that was begun.
                if is_file and self._path != STANDARD_OUTPUT:
                    os.ftruncate(file, status.st_size)
                    self._torn = False
                raise

    def _write_all(self, file: int, text: bytes, deadline: float) -> None:
        """Write *text*; raises TimeoutError at *deadline*, and OSError. It never waits in a write, only for room."""
        room = select.poll()
        room.register(file, select.POLLOUT)
        while text:
            left_ms = (deadline - time.monotonic()) * 1000
            if left_ms <= 0 or not room.poll(left_ms):
                raise TimeoutError
            try:
                text = text[os.write(file, text[: select.PIPE_BUF]) :]
            except BlockingIOError:  # Somebody else took the room.
                continue
            self._torn = bool(text)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        if self._path == STANDARD_OUTPUT:
            yield _STDOUT
            return
        file = os.open(self._path, _FLAGS, 0o640)
        try:
            yield file
        finally:
            os.close(file)


def _packed(envelopes: Sequence[bytes]) -> Iterator[bytes]:
    """Give whole lines, as many at once as a pipe takes without mixing them with those of others, one at least."""
    lines = b""
    for text in envelopes:
        if lines and len(lines) + len(text) >= select.PIPE_BUF:
            yield lines
            lines = b""
        lines += text + b"\n"
    if lines:
        yield lines
