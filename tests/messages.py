"""What a client and a backend of the tests have in common: reading HTTP/1.1 from a socket, exactly as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Head:
    """A message whose *head* is exact, up to and with the empty line."""

    head: bytes

    @property
    def fields(self) -> list[tuple[str, str]]:
        """All fields in their order and spelling."""
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]

    def all(self, name: str) -> list[str]:
        """The values of every field called *name*, whatever its case."""
        return [value for have, value in self.fields if have.lower() == name.lower()]

    def one(self, name: str) -> str:
        """The value of the only field called *name*."""
        (value,) = self.all(name)
        return value


class Reader:
    """Reads from *receive*, which gives some bytes, and none at the end of the connection."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        self._buffer = b""
        self.trailers = b""

    def until(self, mark: bytes) -> bytes:
        """Give all up to and with *mark*; less, or nothing, when the connection ended before."""
        while mark not in self._buffer:
            data = self._receive()
            if not data:
                data, self._buffer = self._buffer, b""
                return data
            self._buffer += data
        end = self._buffer.index(mark) + len(mark)
        data, self._buffer = self._buffer[:end], self._buffer[end:]
        return data

    def exactly(self, size: int) -> Iterator[bytes]:
        """Give *size* bytes in pieces; fewer when the connection ended before."""
        while size:
            piece, self._buffer = (self._buffer or self._receive()), b""
            if not piece:
                return
            piece, self._buffer = piece[:size], piece[size:]
            size -= len(piece)
            yield piece

    def chunks(self) -> Iterator[bytes]:
        """Give the pieces of a chunked body, and keep its trailers; raises EOFError when it breaks off or is garbled."""
        self.trailers = b""
        while size := int(self.until(b"\r\n") or b"0", 16):
            for piece in self.exactly(size):
                size -= len(piece)
                yield piece
            if size or self.until(b"\r\n") != b"\r\n":
                raise EOFError
        while (line := self.until(b"\r\n")) != b"\r\n":
            if not line:
                raise EOFError
            self.trailers += line

    def rest(self) -> Iterator[bytes]:
        """Give all that still comes, in pieces."""
        piece, self._buffer = (self._buffer or self._receive()), b""
        while piece:
            yield piece
            piece = self._receive()
