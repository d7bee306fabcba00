"""Usage events: what is recorded of one request (contract section 9), and how one is written as a line of JSON."""

from __future__ import annotations

from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from typing import Final, NamedTuple

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


class UsageEvent(NamedTuple):
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


def uuid7(unix_ms: int, entropy: str) -> str:
    """Write a UUIDv7 (RFC 9562 section 5.7) of a time and the last 18 of 32 random hexadecimal digits."""
    time = f"{unix_ms:012x}"
    return f"{time[:8]}-{time[8:]}-7{entropy[14:17]}-8{entropy[17:20]}-{entropy[20:]}"


def _text(value: str | None) -> str:
    return "null" if value is None else quoted(value)


def _number(value: int | None) -> str:
    return "null" if value is None else str(value)


def encode(event: UsageEvent) -> bytes:
    """Write *event* as one line of JSON in ASCII, without the line's end."""
    return (
        f'{{"id":"{event.id}","at":"{event.at}","requestId":"{event.request_id}",{event.origin},'
        f'"endpoint":{quoted(event.endpoint)},"method":{quoted(event.method)},"path":{quoted(event.path)},'
        f'"clientIp":{quoted(event.client_address)},"status":{_number(event.status)},"outcome":"{event.outcome}",'
        f'"target":{_text(event.target)},"durationUs":{event.duration_us},"upstreamUs":{_number(event.upstream_us)},'
        f'"bytesIn":{event.bytes_in},"bytesOut":{event.bytes_out}}}'
    ).encode("ascii")
