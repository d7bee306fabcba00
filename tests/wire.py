"""A client that sends exactly the bytes it is told to, and reads answers strictly, on a blocking socket."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from tests.messages import Head, Reader

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
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
class Answer(Head):
    """An answer as it came; *body* is without chunk framing, *trailers* are the lines behind the last chunk."""

    status: int
    head: bytes
    body: bytes
    trailers: bytes = b""

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
    """One connection to a server on this machine, from an address of its own choice.

    *tls* is the context to use, and the name to ask for; *before* is sent before anything else.
    """

    def __init__(
        self,
        port: int,
        source: str | None = None,
        timeout_s: float = _TIMEOUT_S,
        address: str = "127.0.0.1",
        tls: tuple[ssl.SSLContext, str] | None = None,
        before: bytes = b"",
    ) -> None:
        self._socket = socket.create_connection(
            (address, port), timeout_s, source_address=(source, 0) if source else None
        )
        self._socket.sendall(before)
        if tls is not None:
            self._socket = tls[0].wrap_socket(self._socket, server_hostname=tls[1])
        self._reader = Reader(self._receive)

    @classmethod
    def on_socket(cls, path: Path, timeout_s: float = _TIMEOUT_S) -> Self:
        """Open a connection to the Unix socket at *path*."""
        wire = cls.__new__(cls)
        wire._socket = socket.socket(socket.AF_UNIX)
        wire._socket.settimeout(timeout_s)
        wire._socket.connect(str(path))
        wire._reader = Reader(wire._receive)
        return wire

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    @property
    def tls(self) -> ssl.SSLSocket:
        """The socket of a connection with TLS."""
        assert isinstance(self._socket, ssl.SSLSocket)
        return self._socket

    def tcp_nodelay(self) -> None:
        """Send every piece by itself."""
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

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
        self.begin(method, path, key, fields, body)
        return self.answer(method)

    def begin(
        self,
        method: str,
        path: str,
        key: str | None = None,
        fields: Sequence[str] = (),
        body: bytes | None = None,
    ) -> None:
        """Send one request."""
        self.send(request_bytes(method, path, key, fields, body))

    def answer(self, method: str = "GET") -> Answer:
        """Read the next answer, to a request with *method*; raises CutShort."""
        head = self._read_until(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        bare = Answer(status, head, b"")
        if method == "HEAD" or status in (204, 304) or status < 200:
            return bare
        if bare.all("transfer-encoding") == ["chunked"]:
            body = self._chunks()
        elif bare.all("content-length"):
            body = self._read_exactly(int(bare.one("content-length")))
        else:
            body = b"".join(self._reader.rest())
        return Answer(status, head, body, self._reader.trailers)

    def read(self, size: int) -> bytes:
        """Read *size* bytes of whatever comes; raises CutShort."""
        return self._read_exactly(size)

    def read_some(self) -> bytes:
        """Give what comes next, of any size, for a test that is in no hurry."""
        return self._socket.recv(1024)

    def ended(self) -> bool:
        """Say whether the server ends the connection without another byte."""
        with contextlib.suppress(CutShort):
            return not any(self._reader.exactly(1))
        return True

    def _read_until(self, mark: bytes) -> bytes:
        data = self._reader.until(mark)
        if not data.endswith(mark):
            raise CutShort(data)
        return data

    def _read_exactly(self, size: int) -> bytes:
        data = b"".join(self._reader.exactly(size))
        if len(data) < size:
            raise CutShort(data)
        return data

    def _chunks(self) -> bytes:
        try:
            return b"".join(self._reader.chunks())
        except EOFError as error:
            raise CutShort from error

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(_PIECE)
        except ConnectionError as error:
            raise CutShort from error


def request_bytes(
    method: str, path: str, key: str | None = None, fields: Sequence[str] = (), body: bytes | None = None
) -> bytes:
    """A request in HTTP/1.1 with *fields* besides Host, Authorization and Content-Length."""
    lines = [f"{method} {path} HTTP/1.1", "Host: api.example.com"]
    lines += [] if key is None else [f"Authorization: Bearer {key}"]
    lines += [] if body is None else [f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *fields, "", ""]).encode("latin-1") + (body or b"")
