"""The WebSocket handshake (RFC 6455 section 4): what a client must ask, and what an answer must prove."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.core.headers import Field

VERSION: Final = "13"
UPGRADE_LINES: Final = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
"""By what both sides say that they change the protocol."""
_KEY_BYTES: Final = 16
_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def handshake_problem(
    method: str, connection: Iterable[str], upgrade: Iterable[str], versions: list[str], keys: list[str]
) -> str | None:
    """Say in a sentence for the client why a request is no handshake, or None when it is one (section 4.2.1).

    Given are the values of all fields of each name. Another protocol beside websocket would have two readings.
    """
    if method != "GET":
        return "A WebSocket is opened with GET"
    if "upgrade" not in _tokens(connection) or _tokens(upgrade) != ["websocket"]:
        return "A WebSocket needs Connection: Upgrade and Upgrade: websocket, and no other protocol"
    if versions != [VERSION]:
        return f"The only version of WebSocket that is carried is {VERSION}"
    if len(keys) != 1 or not _is_key(keys[0]):
        return "Sec-WebSocket-Key must be base64 of 16 bytes"
    return None


def is_accepted(fields: Iterable[Field], key: str) -> bool:
    """Say whether the *fields* of an answer with status 101 agree to the handshake that had *key* (section 4.1)."""
    found: dict[bytes, list[str]] = {b"connection": [], b"upgrade": [], b"sec-websocket-accept": []}
    for name, value in fields:
        values = found.get(name.lower())
        if values is not None:
            values.append(value.decode("latin-1"))
    return (
        "upgrade" in _tokens(found[b"connection"])
        and _tokens(found[b"upgrade"]) == ["websocket"]
        and [value.strip() for value in found[b"sec-websocket-accept"]] == [accept_for(key)]
    )


def accept_for(key: str) -> str:
    """Give the value of Sec-WebSocket-Accept that proves that *key* was read (section 4.2.2)."""
    # SHA-1 is what the protocol says; nothing is secret or signed here.
    digest = hashlib.sha1(f"{key.strip()}{_GUID}".encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def _tokens(values: Iterable[str]) -> list[str]:
    return [token.strip().lower() for value in values for token in value.split(",")]


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text.strip(), validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False
