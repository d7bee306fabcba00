"""Usage events: what is recorded of one request (contract section 9), and how one is written as a line of JSON.

One is made of every request, so it is a Struct, which costs a third of a dataclass, and msgspec writes its JSON.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field
from msgspec.json import Encoder

SCHEMA: Final = 1


class UsageEvent(Struct, rename="camel", gc=False):
    """One request as it is billed and advised by; None means unknown. *at* is ISO 8601 UTC."""

    id: str
    at: str
    request_id: str
    account_id: str | None
    key_id: str | None
    route: str
    endpoint: str
    method: str
    path: str
    client_address: str = field(name="clientIp")
    status: int | None
    outcome: str
    upstream: str | None
    target: str | None
    duration_us: int
    upstream_us: int | None
    bytes_in: int
    bytes_out: int
    config_version: str
    mode: str = "proxy"
    schema: int = SCHEMA


encode: Final = Encoder().encode
"""Write an event as one line of JSON in UTF-8, without the line's end."""


def uuid7_start(unix_ms: int) -> str:
    """Write what all UUIDv7 of a millisecond begin with (RFC 9562 section 5.7)."""
    time = f"{unix_ms:012x}"
    return f"{time[:8]}-{time[8:]}-7"


def uuid7(start: str, entropy: str) -> str:
    """Write a UUIDv7 of its millisecond's *start* and the last 18 of 32 random hexadecimal digits."""
    return f"{start}{entropy[14:17]}-8{entropy[17:20]}-{entropy[20:]}"
