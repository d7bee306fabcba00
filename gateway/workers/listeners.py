"""The sockets that clients and operators come to: the parent holds them, so that they outlive every worker.

Each worker has a public socket of its own, over which the kernel spreads new connections, and which its replacement
takes over with all that waits in it. The internal socket is one for all. Workers begin to listen, the parent never
does.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.schema import Listen, Listener


SOCKET_MODE: Final = 0o660
"""For the gateway's user and group: whoever can connect may ask for any decision."""


class AddressTaken(Exception):
    """An address cannot be listened on; the message says which, and what to do."""


class Listeners:
    """The sockets of one gateway, bound and not listening yet."""

    def __init__(self, listen: Listen, decisions: Path | None = None) -> None:
        """Bind the internal address and the Unix socket for *decisions*, and make sure that the public address is free.

        Raises AddressTaken.
        """
        self._public: dict[int, socket.socket] = {}
        self._listen = listen
        _bound("public", listen.public, shared=False).close()
        self.internal = _bound("internal", listen.internal, shared=False)
        self.decisions = None if decisions is None else _unix(decisions)

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
        if self.decisions is not None:
            self.decisions.close()
        for place in list(self._public):
            self.drop(place)


def _unix(path: Path) -> socket.socket:
    """Bind a Unix socket, in the place of one that was left behind."""
    made = socket.socket(socket.AF_UNIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_socket():
            path.unlink()
        made.bind(str(path))
        path.chmod(SOCKET_MODE)
    except OSError as error:
        made.close()
        message = f"cannot listen on {path}: {error.strerror or error}; change sidecar.socket in the settings"
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
