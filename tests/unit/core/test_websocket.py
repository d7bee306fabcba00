"""The WebSocket handshake: what is one, and what accepts it (RFC 6455 section 4)."""

from __future__ import annotations

import pytest

from gateway.core.websocket import accept_for, handshake_problem, is_accepted

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
GOOD = [
    (b"Upgrade", b"WebSocket"),
    (b"connection", b"keep-alive, Upgrade"),
    (b"Sec-WebSocket-Accept", ACCEPT.encode()),
    (b"Sec-WebSocket-Protocol", b"chat"),
]


def test_the_sample_of_the_rfc_is_accepted_as_it_says() -> None:
    assert accept_for(KEY) == ACCEPT
    assert is_accepted(GOOD, KEY)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        GOOD[:2],
        GOOD[1:],
        [GOOD[0], *GOOD[2:]],
        [*GOOD[:2], (b"Sec-WebSocket-Accept", b"c3pPLMBiTxaQ9kYGzzhZRbK+xOo=")],
        [*GOOD, (b"sec-websocket-accept", ACCEPT.encode())],
        [*GOOD, (b"Upgrade", b"h2c")],
    ],
)
def test_what_does_not_agree_in_every_field_is_not_accepted(fields: list[tuple[bytes, bytes]]) -> None:
    assert not is_accepted(fields, KEY)


def test_a_handshake_is_one() -> None:
    assert handshake_problem("GET", ["keep-alive, Upgrade"], ["WebSocket"], ["13"], [KEY]) is None


@pytest.mark.parametrize(
    ("method", "connection", "upgrade", "versions", "keys"),
    [
        ("POST", ["Upgrade"], ["websocket"], ["13"], [KEY]),
        ("GET", ["close"], ["websocket"], ["13"], [KEY]),
        ("GET", ["Upgrade"], ["websocket, h2c"], ["13"], [KEY]),
        ("GET", ["Upgrade"], ["websocket", "websocket"], ["13"], [KEY]),
        ("GET", ["Upgrade"], ["websocket"], [], [KEY]),
        ("GET", ["Upgrade"], ["websocket"], ["8"], [KEY]),
        ("GET", ["Upgrade"], ["websocket"], ["13", "13"], [KEY]),
        ("GET", ["Upgrade"], ["websocket"], ["13"], []),
        ("GET", ["Upgrade"], ["websocket"], ["13"], [KEY, KEY]),
        ("GET", ["Upgrade"], ["websocket"], ["13"], ["YQ=="]),
        ("GET", ["Upgrade"], ["websocket"], ["13"], ["not base64"]),
        ("GET", ["Upgrade"], ["websocket"], ["13"], ["dGhlIHNhbXBsZSBub25jZQ"]),
    ],
)
def test_what_has_two_readings_is_no_handshake(
    method: str, connection: list[str], upgrade: list[str], versions: list[str], keys: list[str]
) -> None:
    assert handshake_problem(method, connection, upgrade, versions, keys)
