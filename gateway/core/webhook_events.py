"""Webhook events: what a successful write announces, and how one is written as a line of the journal.

Its data are a bounded copy of the answer's JSON (contract section 6), passed on as they were written: no number is
rounded and no text is spelled anew.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder, Encoder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.core.headers import Field
    from gateway.core.paths import Target
    from gateway.core.routes import Pattern

COPY_MAX_BYTES: Final = 65_536
"""What is copied of an answer at most."""

_MARK: Final = b'{"kind":"webhook",'
_MEDIA_TYPE: Final = b"application/json"


class WebhookEvent(Struct, rename="camel", tag_field="kind", tag="webhook", gc=False):
    """Something that happened to an *account_id*. *at* is ISO 8601 UTC, *data* JSON without line ends."""

    id: str
    at: str
    account_id: str
    event: str
    data: Raw


encode: Final = Encoder().encode
"""Write an event as one line of JSON in UTF-8, without the line's end."""

decode: Final = Decoder(WebhookEvent).decode
"""Read such a line; raises msgspec.DecodeError."""


def is_webhook_event(line: bytes) -> bool:
    """Say whether a line of the journal is a webhook event; all others are usage events."""
    return line.startswith(_MARK)


class Missing(enum.StrEnum):
    """Why the data of an event have nothing of the answer's body, although it had one."""

    TOO_LONG = "answer_too_long"
    ENCODED = "answer_encoded"
    NOT_JSON = "answer_not_json"
    INCOMPLETE = "answer_incomplete"


class _Answer(Struct):
    data: Raw = Raw(b"")


def unreadable(fields: Iterable[Field]) -> Missing | None:
    """Say why the body of an answer with these *fields* is not read, None if it can be."""
    found = {name.lower(): value.strip().lower() for name, value in fields}
    if found.get(b"content-encoding", b"identity") != b"identity":
        return Missing.ENCODED
    if found.get(b"content-type", _MEDIA_TYPE).partition(b";")[0].strip() != _MEDIA_TYPE:
        return Missing.NOT_JSON
    return None


def data_of(body: bytes, missing: Missing | None, target: Target, pattern: Pattern) -> Raw:
    """Give the data of an event: the `data` of the answer, or all of it where it has no such member.

    Without a readable body: the path that was written to, the `id` in it, and a `note` that says why, unless the answer
    was empty.
    """
    if body and missing is None:
        try:
            return _copied(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            missing = Missing.NOT_JSON
    members: dict[str, Any] = {"id": _id(target, pattern), "path": target.path}
    if missing is not None:
        members["note"] = missing
    return json_data(members)


def json_data(value: Any) -> Raw:
    """Write *value*, which is made of what JSON has, as data."""
    return Raw(encode(value))


def _copied(body: bytes) -> Raw:
    """Copy the data out of *body*; raises msgspec.DecodeError, UnicodeDecodeError and RecursionError."""
    whole = msgspec.json.decode(body)  # For its checks: what is raw is not looked into.
    data = bytes(msgspec.json.decode(body, type=_Answer).data) if isinstance(whole, dict) else b""
    # Line ends stand between tokens only, where a space says the same.
    return Raw((data or body.strip()).replace(b"\r", b" ").replace(b"\n", b" "))


def _id(target: Target, pattern: Pattern) -> str | None:
    """Give the segment that names what was written to: the first below a collection, or the last variable one."""
    if pattern.tail:
        below = target.segments[len(pattern.segments) :]
        return below[0] if below else None
    variable = [part for part, known in zip(target.segments, pattern.segments, strict=True) if known.startswith("{")]
    return variable[-1] if variable else None
