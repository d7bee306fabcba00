"""Webhook messages: what a receiver is sent, and what an attempt to send it has come to (contract section 7)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from msgspec import Raw, Struct
from msgspec.json import Encoder

DATA_MAX_BYTES: Final = 65_536
"""The data of a message at most, as JSON; the rest of its body is below 1 KiB."""

_VERSION: Final = "1.4.0"


class DataTooLarge(ValueError):
    """The data are too large to be sent; the message says how large they may be."""


class _Metadata(Struct):
    delivery_id: str
    source: str = "api"
    version: str = _VERSION


class _Body(Struct):
    event: str
    timestamp: str
    data: Raw
    metadata: _Metadata


_encode: Final = Encoder().encode


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """What one delivery carries, the same at each attempt: *body* are the bytes that are signed and sent."""

    id: str
    event: str
    body: bytes


def webhook_message(delivery_id: str, event: str, at: str, data: bytes) -> WebhookMessage:
    """Make the message about an *event* that happened *at* (ISO 8601); raises DataTooLarge.

    *data* are JSON, and are passed on as they are written: no number is rounded and no text is spelled anew.
    """
    if len(data) > DATA_MAX_BYTES:
        message = f"must have at most {DATA_MAX_BYTES} bytes as JSON"
        raise DataTooLarge(message)
    body = _Body(event, at, Raw(data), _Metadata(delivery_id))
    return WebhookMessage(delivery_id, event, _encode(body))


class Failure(enum.StrEnum):
    """Why a message did not arrive."""

    SECRET_UNREADABLE = "secret_unreadable"  # noqa: S105  # a word for programs
    """The secret that would sign it cannot be decrypted."""
    URL_NOT_ALLOWED = "url_not_allowed"
    """The URL is none that may be called, since the settings have changed."""
    DNS = "dns"
    """The name leads nowhere."""
    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    """The name leads to an address that is not public, among others perhaps."""
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_FAILED = "connection_failed"
    """There is no way to the address."""
    TLS = "tls"
    """The certificate is not valid for the name, or no TLS is spoken."""
    TIMEOUT = "timeout"
    CONNECTION_CLOSED = "connection_closed"
    """The receiver closed the connection before it answered."""
    ANSWER_INVALID = "answer_invalid"
    """What came is not HTTP, or its head is larger than any that is read."""
    REDIRECT = "redirect"
    """The answer leads elsewhere, and is not followed."""
    STATUS = "status"
    """The answer has another status than 2xx."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What an attempt has come to: the *status* of the answer, None without one, and *failure*, None if it arrived."""

    status: int | None
    duration_ms: int
    failure: Failure | None

    @property
    def delivered(self) -> bool:
        """Whether the receiver took the message, with a 2xx."""
        return self.failure is None

    @property
    def gone(self) -> bool:
        """Whether the receiver wants no messages any more."""
        return self.status == 410


def failure_of(status: int) -> Failure | None:
    """Give what an answer with this *status* means: None is success."""
    if 200 <= status < 300:
        return None
    return Failure.REDIRECT if 300 <= status < 400 else Failure.STATUS
