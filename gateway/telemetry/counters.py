"""Numbers of one worker in a memory-mapped file, so that any worker can sum them all.

A file is a row of entries: two 32-bit lengths (of the name, and how many numbers follow), the name padded to eight
bytes, the numbers as doubles. A zero length ends the row; an entry's lengths are written last, so that a reader never
sees half of one. A worker that is started again in the same place goes on counting where its predecessor died.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from pathlib import Path

FILE_BYTES: Final = 4 * 1024 * 1024
SUFFIX: Final = ".counters"
_LENGTHS: Final = struct.Struct("=II")

log = structlog.get_logger()


class CounterFile:
    """Rows of doubles by name; `row` gives one to count in, as a view that can be written by index."""

    def __init__(self, path: Path) -> None:
        """Open or create the file at *path*."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(file, FILE_BYTES)
            self._map = mmap.mmap(file, FILE_BYTES)
        finally:
            os.close(file)
        self._numbers = memoryview(self._map).cast("d")
        self._rows: dict[str, memoryview[float]] = {}
        self._end = 0
        for name, start, count in _entries(self._map):
            self._rows[name] = self._numbers[start // 8 : start // 8 + count]
            self._end = start + count * 8

    def row(self, name: str, count: int) -> memoryview[float]:
        """Give the *count* numbers under *name*; a full file gives numbers that are counted nowhere, and says so."""
        row = self._rows.get(name)
        if row is None:
            row = self._rows[name] = self._add(name, count)
        return row

    def _add(self, name: str, count: int) -> memoryview[float]:
        text = name.encode()
        start = self._end + 8 + -(-len(text) // 8) * 8
        end = start + count * 8
        if end + 8 > FILE_BYTES:
            log.error("counters full", series=name)
            return memoryview(bytearray(count * 8)).cast("d")
        self._map[self._end + 8 : self._end + 8 + len(text)] = text
        self._map[self._end : self._end + 8] = _LENGTHS.pack(len(text), count)
        self._end = end
        return self._numbers[start // 8 : end // 8]

    def close(self) -> None:
        """Let the mapping go; rows given out before must not be used any more."""
        for row in self._rows.values():
            row.release()
        self._numbers.release()
        self._map.close()


def _entries(data: mmap.mmap | bytes) -> list[tuple[str, int, int]]:
    """List (name, first byte of the numbers, how many)."""
    entries: list[tuple[str, int, int]] = []
    at = 0
    while at + 8 <= len(data):
        length, count = _LENGTHS.unpack_from(data, at)
        if length == 0:
            break
        start = at + 8 + -(-length // 8) * 8
        entries.append((data[at + 8 : at + 8 + length].decode(), start, count))
        at = start + count * 8
    return entries


def read_all(directory: Path) -> list[dict[str, tuple[float, ...]]]:
    """Read the rows of every worker's file in *directory*."""
    workers: list[dict[str, tuple[float, ...]]] = []
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        data = path.read_bytes()
        workers.append({name: struct.unpack_from(f"={count}d", data, start) for name, start, count in _entries(data)})
    return workers
