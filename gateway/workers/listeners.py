"""The sockets that clients and operators come to: the parent holds them, so that they outlive every worker.

Each worker has a public socket of its own, over which the kernel spreads new connections, and which its replacement
takes over with all that waits in it. The internal socket is one for all. Workers begin to listen, the parent never
does.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.settings.fields import split_syslog
from gateway.settings.schema import Sidecar

if TYPE_CHECKING:
    from gateway.settings.listeners import Listen, Listener

SOCKET_MODE: Final = 0o660
"""For the gateway's user and group: whoever can connect may ask for any decision."""
DATAGRAMS_BYTES: Final = 4 * 1024 * 1024
"""What the kernel keeps of reports while workers are busy, if it may: net.core.rmem_max."""


class AddressTaken(Exception):
    """An address cannot be listened on; the message says which, and what to do."""


class Listeners:
    """The sockets of one gateway, bound and not listening yet."""

    def __init__(self, listen: Listen, sidecar: Sidecar | None = None) -> None:
        """Bind the internal address and the sockets for the *sidecar*, and make sure that the public address is free.

        Raises AddressTaken.
        """
        self._public: dict[int, socket.socket] = {}
        self._listen = listen
        _bound("public", listen.public, shared=False).close()
        self.internal = _bound("internal", listen.internal, shared=False)
        wanted = sidecar or Sidecar()
        self.decisions = None if wanted.socket is None else _unix(wanted.socket, "socket")
        self.reports = None if wanted.syslog is None else _datagrams(wanted.syslog)

    def public(self, place: int) -> socket.socket:
        """Give the public socket of a *place*, bound anew if it was dropped; raises AddressTaken."""
        if place not in self._public:
            self._public[place] = _bound("public", self._listen.public, shared=True)
        return self._public[place]

    def drop(self, place: int) -> None:
        """Let the public socket of a *place* go, so that the kernel sends no connection there."""
        if place in self._public:
            self._public.pop(place).close()

    def close(self) -> None:
        """Leave all sockets to the workers that still have them: they are closed when the last of those closes them."""
        self.internal.close()
        for one in (self.decisions, self.reports):
            if one is not None:
                one.close()
        for place in list(self._public):
            self.drop(place)


def _datagrams(place: str) -> socket.socket:
    """Bind the socket that reports come to over syslog."""
    where = split_syslog(place)
    if isinstance(where, str):
        return _unix(Path(where), "syslog", socket.SOCK_DGRAM)
    made = socket.socket(socket.AF_INET6 if ":" in where[0] else socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DATAGRAMS_BYTES)
    try:
        made.bind(where)
    except OSError as error:
        made.close()
        message = f"cannot listen on {place}: {error.strerror}; change sidecar.syslog in the settings"
        raise AddressTaken(message) from None
    made.setblocking(False)  # noqa: FBT003  # the signature is the socket's
    return made


def _unix(path: Path, setting: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """Bind a Unix socket, in the place of one that was left behind."""
    made = socket.socket(socket.AF_UNIX, kind)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_socket():
            path.unlink()
        made.bind(str(path))
        path.chmod(SOCKET_MODE)
    except OSError as error:
        made.close()
        message = f"cannot listen on {path}: {error.strerror or error}; change sidecar.{setting} in the settings"
        raise AddressTaken(message) from None
    made.setblocking(False)  # noqa: FBT003  # the signature is the socket's
    return made


def _bound(name: str, listener: Listener, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in listener.address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family is socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if shared:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        made.bind((listener.address, listener.port))
    except OSError as error:
        made.close()
        raise AddressTaken(
            f"cannot listen on {listener.address}:{listener.port}: {error.strerror}; stop what uses it, or change "
            f"listen.{name} in the settings"
        ) from None
    made.setblocking(False)  # noqa: FBT003  # the signature is the socket's
    return made
