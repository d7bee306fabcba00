"""The status of a receiver's answer, and the bounds of reading it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httptools

if TYPE_CHECKING:
    import asyncio

HEAD_MAX_BYTES: Final = 16_384
"""The head of an answer at most, with all interim answers before it."""
PIECE_BYTES: Final = 4096


class AnswerInvalid(OSError):
    """What came is not HTTP, or its head is too large."""


class _Head:
    """Takes what the parser finds."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.status: int | None = None

    def on_headers_complete(self) -> None:
        """Keep the status, but for interim answers, after which another comes (RFC 9110 section 15.2)."""
        status = self.parser.get_status_code()
        if self.status is None and (status == 101 or not 100 <= status < 200):
            self.status = status

    def take(self, piece: bytes) -> int | None:
        """Take a piece of the answer, and give the status as soon as it is known; raises AnswerInvalid."""
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserError as error:
            # What follows a head that is right may be wrong, or another protocol (101): it is not read.
            if self.status is None:
                raise AnswerInvalid from error
        return self.status


async def read_status(reader: asyncio.StreamReader) -> int:
    """Read as much of an answer as tells its status; raises AnswerInvalid and ConnectionError."""
    head, read = _Head(), 0
    while read < HEAD_MAX_BYTES:
        piece = await reader.read(PIECE_BYTES)
        if not piece:
            message = "closed before the answer"
            raise ConnectionResetError(message)
        read += len(piece)
        status = head.take(piece)
        if status is not None:
            return status
    raise AnswerInvalid
