"""Usage events: what is recorded of one request (contract section 9), and how one is written as a line of JSON."""

from __future__ import annotations

from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from typing import Final

SCHEMA: Final = 1


@dataclass(slots=True)
class UsageEvent:
    """One request as it is billed and advised by. *at* is ISO 8601 UTC; None means unknown."""

    id: str
    at: str
    request_id: str
    route: str
    endpoint: str
    method: str
    path: str
    client_address: str
    outcome: str
    config_version: str
    status: int | None = None
    account_id: str | None = None
    key_id: str | None = None
    upstream: str | None = None
    target: str | None = None
    duration_us: int = 0
    upstream_us: int | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    mode: str = "proxy"


def uuid7(unix_ms: int, randomness: int) -> str:
    """Write a UUIDv7 (RFC 9562 section 5.7) of a time and 74 random bits."""
    number = (
        (unix_ms << 80) | (0x7 << 76) | ((randomness >> 62 & 0xFFF) << 64) | (0b10 << 62) | (randomness & (1 << 62) - 1)
    )
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _text(value: str | None) -> str:
    return "null" if value is None else quoted(value)


def _number(value: int | None) -> str:
    return "null" if value is None else str(value)


def encode(event: UsageEvent) -> bytes:
    """Write *event* as one line of JSON in ASCII, without the line's end."""
    return (
        f'{{"id":"{event.id}","at":"{event.at}","requestId":{quoted(event.request_id)},'
        f'"accountId":{_text(event.account_id)},"keyId":{_text(event.key_id)},"route":{quoted(event.route)},'
        f'"endpoint":{quoted(event.endpoint)},"method":{quoted(event.method)},"path":{quoted(event.path)},'
        f'"clientIp":{quoted(event.client_address)},"status":{_number(event.status)},"outcome":"{event.outcome}",'
        f'"upstream":{_text(event.upstream)},"target":{_text(event.target)},"durationUs":{event.duration_us},'
        f'"upstreamUs":{_number(event.upstream_us)},"bytesIn":{event.bytes_in},"bytesOut":{event.bytes_out},'
        f'"mode":"{event.mode}","configVersion":"{event.config_version}","schema":{SCHEMA}}}'
    ).encode("ascii")
