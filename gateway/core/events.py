"""Usage events: what is recorded of one request (contract section 9), and how one is written as a line of JSON."""

from __future__ import annotations

from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from typing import Final

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class Origin:
    """What all requests of one key on one route have in common: made once, and kept as text."""

    route: str
    config_version: str
    account_id: str | None = None
    key_id: str | None = None
    upstream: str | None = None
    mode: str = "proxy"

    @property
    def text(self) -> str:
        """The members of the event's JSON object that are these."""
        return (
            f'"route":{quoted(self.route)},"accountId":{_text(self.account_id)},"keyId":{_text(self.key_id)},'
            f'"upstream":{_text(self.upstream)},"mode":"{self.mode}","configVersion":"{self.config_version}",'
            f'"schema":{SCHEMA}'
        )


@dataclass(slots=True)
class UsageEvent:
    """One request as it is billed and advised by; None means unknown.

    *at* is ISO 8601 UTC, *origin* an Origin's text. *request_id* and *outcome* need no escapes in JSON.
    """

    id: str
    at: str
    origin: str
    request_id: str
    endpoint: str
    method: str
    path: str
    client_address: str
    outcome: str
    status: int | None
    target: str | None
    duration_us: int
    upstream_us: int | None
    bytes_in: int
    bytes_out: int


def uuid7_start(unix_ms: int) -> str:
    """Write what all UUIDv7 of a millisecond begin with (RFC 9562 section 5.7)."""
    time = f"{unix_ms:012x}"
    return f"{time[:8]}-{time[8:]}-7"


def uuid7(start: str, entropy: str) -> str:
    """Write a UUIDv7 of its millisecond's *start* and the last 18 of 32 random hexadecimal digits."""
    return f"{start}{entropy[14:17]}-8{entropy[17:20]}-{entropy[20:]}"


def _text(value: str | None) -> str:
    return "null" if value is None else quoted(value)


def encode(event: UsageEvent) -> bytes:
    """Write *event* as one line of JSON in ASCII, without the line's end."""
    status, target, upstream_us = event.status, event.target, event.upstream_us
    return (
        f'{{"id":"{event.id}","at":"{event.at}","requestId":"{event.request_id}",{event.origin},'
        f'"endpoint":{quoted(event.endpoint)},"method":{quoted(event.method)},"path":{quoted(event.path)},'
        f'"clientIp":{quoted(event.client_address)},"status":{"null" if status is None else status},'
        f'"outcome":"{event.outcome}","target":{"null" if target is None else quoted(target)},'
        f'"durationUs":{event.duration_us},"upstreamUs":{"null" if upstream_us is None else upstream_us},'
        f'"bytesIn":{event.bytes_in},"bytesOut":{event.bytes_out}}}'
    ).encode("ascii")
