"""A client that sends exactly the bytes it is told to, and reads answers strictly, on a blocking socket."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

_TIMEOUT_S = 8.0
_PIECE = 262_144
_sources = (f"127.1.{number // 250}.{number % 250 + 1}" for number in itertools.count())


def fresh_address() -> str:
    """An address of this machine that no test has used before: limits per address begin anew for it."""
    return next(_sources)


class CutShort(Exception):
    """The connection ended before the answer did."""


@dataclass(frozen=True)
class Answer:
    """An answer as it came; *body* is without chunk framing."""

    status: int
    head: bytes
    body: bytes

    @property
    def fields(self) -> list[tuple[str, str]]:
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]

    def all(self, name: str) -> list[str]:
        """The values of every field called *name*, whatever its case."""
        return [value for have, value in self.fields if have.lower() == name.lower()]

    def one(self, name: str) -> str:
        """The value of the only field called *name*."""
        (value,) = self.all(name)
        return value

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document

    @property
    def code(self) -> str:
        """The status and, of an error of the gateway's own, its code: `401 unauthorized`."""
        with contextlib.suppress(ValueError, KeyError):
            return f"{self.status} {self.json['error']}"
        return str(self.status)


class Wire:
    """One connection to a server on this machine, from an address of its own choice."""

    def __init__(
        self, port: int, source: str | None = None, timeout_s: float = _TIMEOUT_S, address: str = "127.0.0.1"
    ) -> None:
        self._socket = socket.create_connection(
            (address, port), timeout_s, source_address=(source, 0) if source else None
        )
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self._socket.shutdown(socket.SHUT_WR)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def ask(
        self,
        method: str,
        path: str,
        key: str | None = None,
        fields: Sequence[str] = (),
        body: bytes | None = None,
    ) -> Answer:
        """Send one request and read its answer."""
        self.send(request_bytes(method, path, key, fields, body))
        return self.answer(method)

    def answer(self, method: str = "GET") -> Answer:
        """Read the next answer, to a request with *method*; raises CutShort."""
        head = self._read_until(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        bare = Answer(status, head, b"")
        if method == "HEAD" or status in (204, 304) or status < 200:
            return bare
        if bare.all("transfer-encoding") == ["chunked"]:
            body = b"".join(self._chunks())
        elif bare.all("content-length"):
            body = self._read_exactly(int(bare.one("content-length")))
        else:
            body = self._rest()
        return Answer(status, head, body)

    def read_some(self) -> bytes:
        """Give what comes next, of any size, for a test that is in no hurry."""
        return self._socket.recv(1024)

    def ended(self) -> bool:
        """Say whether the server ends the connection without another byte."""
        with contextlib.suppress(ConnectionError):
            return self._buffer + self._socket.recv(_PIECE) == b""
        return True

    def _rest(self) -> bytes:
        pieces = [self._buffer]
        while piece := self._socket.recv(_PIECE):
            pieces.append(piece)
        self._buffer = b""
        return b"".join(pieces)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._read_until(b"\r\n"), 16):
            yield self._read_exactly(size)
            assert self._read_exactly(2) == b"\r\n"
        assert self._read_until(b"\r\n") == b"\r\n"

    def _read_until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._buffer += self._some()
        data, _, self._buffer = self._buffer.partition(mark)
        return data + mark

    def _read_exactly(self, size: int) -> bytes:
        pieces = [self._buffer]
        have = len(self._buffer)
        while have < size:
            pieces.append(self._some())
            have += len(pieces[-1])
        data = b"".join(pieces)
        self._buffer = data[size:]
        return data[:size]

    def _some(self) -> bytes:
        try:
            data = self._socket.recv(_PIECE)
        except ConnectionError as error:
            raise CutShort from error
        if not data:
            raise CutShort(self._buffer)
        return data


def request_bytes(
    method: str, path: str, key: str | None = None, fields: Sequence[str] = (), body: bytes | None = None
) -> bytes:
    """A request in HTTP/1.1 with *fields* besides Host, Authorization and Content-Length."""
    lines = [f"{method} {path} HTTP/1.1", "Host: api.example.com"]
    lines += [] if key is None else [f"Authorization: Bearer {key}"]
    lines += [] if body is None else [f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *fields, "", ""]).encode("latin-1") + (body or b"")
