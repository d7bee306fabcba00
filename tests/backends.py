"""A backend that records every byte it gets and misbehaves on demand, on blocking sockets in threads of its own.

What it answers is a function of the request; the functions below are the common ones. It judges nothing: a test looks
at what was received.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.messages import Head, Reader

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

BODY_KEPT = 1_000_000
_PIECE = 65536
_TIMEOUT_S = 20.0


@dataclass
class Received(Head):
    """One request as it came. *head* is exact, up to and with the empty line; *body* is without chunk framing.

    Of a body longer than BODY_KEPT only *size* and *digest* (SHA-256) are complete. *whole* is false while the body is
    on its way, and stays so when it broke off.
    """

    connection: int
    head: bytes
    body: bytes = b""
    size: int = 0
    whole: bool = False
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    @property
    def line(self) -> str:
        """The request line."""
        return self.head.partition(b"\r\n")[0].decode("latin-1")

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def add(self, data: bytes) -> None:
        self._hash.update(data)
        self.size += len(data)
        if len(self.body) < BODY_KEPT:
            self.body += data


class Connection:
    """One accepted connection: what arrived on it, and ways to be good or bad to the other side."""

    def __init__(self, number: int, sock: socket.socket) -> None:
        self.number = number
        self.raw = b""
        self.ended = False
        self.reader = Reader(self._more)
        self._socket = sock
        sock.settimeout(_TIMEOUT_S)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def close(self) -> None:
        """End the connection in order."""
        self.ended = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def end_when_idle(self, seconds: float) -> None:
        """End the connection when nothing comes for so long."""
        self._socket.settimeout(seconds)

    def tcp_nodelay(self) -> None:
        """Send every piece by itself."""
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def half_close(self) -> None:
        """Say that nothing more will be sent, and go on reading."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the connection with a reset."""
        self.ended = True
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def wait_for_end(self) -> bytes:
        """Read until the other side ends the connection, and give what still came."""
        rest = b""
        with contextlib.suppress(OSError):
            for piece in self.reader.rest():
                rest += piece
        return rest

    def _more(self) -> bytes:
        data = self._socket.recv(_PIECE)
        if len(self.raw) < BODY_KEPT:
            self.raw += data
        return data


Answer = Callable[[Received, Connection], None]


def plain(body: bytes = b'{"ok":true}', status: str = "200 OK", fields: bytes = b"") -> Answer:
    """Answer with *body* and its length; to HEAD without the body."""

    def answer(request: Received, connection: Connection) -> None:
        head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n"
        shown = b"" if request.method == "HEAD" else body
        connection.send(head % (status.encode(), fields, len(body)) + shown)

    return answer


def raw(data: bytes, *, close: bool = False) -> Answer:
    """Answer with exactly *data*, and end the connection after it if *close*."""

    def answer(request: Received, connection: Connection) -> None:
        connection.send(data)
        if close:
            connection.close()

    return answer


def silent(_request: Received, connection: Connection) -> None:
    """Say nothing until the other side ends the connection."""
    connection.wait_for_end()


class Backend:
    """A listening backend. *answer* may be replaced at any time; *on_head* is called before a body is read.

    It listens on a port of 127.0.0.1 unless it is given a *listener*, and speaks TLS where it is told how.
    """

    def __init__(self, listener: socket.socket | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.answer: Answer = plain()
        self.on_head: Answer | None = None
        self.requests: list[Received] = []
        self.connections: list[Connection] = []
        self.failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self._listener = listener or socket.create_server(("127.0.0.1", 0), backlog=256)
        self._tls = tls
        self.port = 0 if self._listener.family == socket.AF_UNIX else int(self._listener.getsockname()[1])
        self._closed = False
        self._start(self._accept)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def raw(self) -> bytes:
        """All bytes that came, on all connections."""
        return b"".join(connection.raw for connection in self.connections)

    @property
    def open_connections(self) -> int:
        return sum(not connection.ended for connection in self.connections)

    @property
    def last(self) -> Received:
        return self.requests[-1]

    def forget(self) -> None:
        """Begin to record anew, and answer in the plain way; connections stay open."""
        self.answer, self.on_head = plain(), None
        self.requests.clear()
        for connection in self.connections:
            connection.raw = b""

    def drop_connections(self) -> None:
        """End every open connection in order."""
        for connection in self.connections:
            if not connection.ended:
                connection.close()

    def close(self) -> None:
        """End everything and wait for it."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(5)
        self.drop_connections()
        for thread in self._threads[1:]:
            thread.join(5)
            assert not thread.is_alive(), "an answer never ends"

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            connection = Connection(len(self.connections), sock)
            self.connections.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: Connection) -> None:
        try:
            while not connection.ended and (head := connection.reader.until(b"\r\n\r\n")):
                request = Received(connection.number, head)
                self.requests.append(request)
                if self.on_head is not None:
                    self.on_head(request, connection)
                if self._read_body(request, connection):
                    request.whole = True
                    self.answer(request, connection)
        except OSError:
            pass  # The other side went away, or we closed it: a test that minds looks at what was received.
        except BaseException as failure:
            self.failures.append(failure)
        finally:
            connection.close()

    def _read_body(self, request: Received, connection: Connection) -> bool:
        if b"chunked" in request.head.lower().partition(b"transfer-encoding:")[2].partition(b"\r\n")[0]:
            with contextlib.suppress(EOFError):
                for piece in connection.reader.chunks():
                    request.add(piece)
                return True
            return False
        size = int((request.all("content-length") or ["0"])[0])
        for piece in connection.reader.exactly(size):
            request.add(piece)
        return request.size == size


@pytest.fixture
def backend() -> Iterator[Backend]:
    """A backend of the test's own; a bug in what it was told to answer fails the test."""
    backend = Backend()
    yield backend
    backend.close()
    assert not backend.failures
