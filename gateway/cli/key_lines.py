"""Lines of a file of keys, CSV or JSON, checked by the rules of the API; what is wrong is told by its line."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, TextIO

from pydantic import Field

from gateway.adapters.postgres.key_import import ImportedKey, LineProblem
from gateway.adapters.postgres.keys import RATE_LIMIT_PER_HOUR, NewKey, new_key_id
from gateway.adapters.secrets.webhook_secrets import seal_webhook_secret
from gateway.cli.key_options import problems_of
from gateway.core.credentials import PREFIX_CHARACTERS, Credential, has_our_checksum, parse
from gateway.core.keys import KeyStatus
from gateway.management.bodies import Body, checked

# Pydantic reads these when it builds the model.
from gateway.management.key_bodies import (  # noqa: TC001  # see above
    Expiry,
    Name,
    Networks,
    RateLimit,
    Scopes,
    Status,
    WebhookSecret,
    WebhookUrl,
)
from gateway.management.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.adapters.postgres.key_import import LineProblems
    from gateway.adapters.secrets.encryption import Encryption
    from gateway.core.snapshot import KeyFormat
    from gateway.management.key_bodies import Rules

Line = tuple[int, dict[str, Any] | str]
"""The number of a line, and its members, or what is wrong with it."""

_LISTS: Final = ("scopes", "allowedIps")
_SEPARATORS: Final = re.compile(r"[\s;,]+")
_WHOLE: Final = re.compile(r"[0-9]{1,18}")
LINE_MAX_CHARACTERS: Final = 1_048_576
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}")


class KeyLine(Body):
    """What a line may say of a key: the fields of the API, and the key itself or its SHA-256 in hex."""

    name: Name
    scopes: Scopes
    key: str | None = Field(default=None, repr=False)
    sha256: str | None = Field(default=None, repr=False)
    key_prefix: Annotated[str, Field(max_length=PREFIX_CHARACTERS)] = ""
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")] | None = None
    description: str | None = None
    rate_limit_per_hour: RateLimit = RATE_LIMIT_PER_HOUR
    status: Status = KeyStatus.ACTIVE
    allowed_ips: Networks = None
    expires_at: Expiry = None
    webhook_url: WebhookUrl = None
    webhook_secret: WebhookSecret = None


_MEMBERS: Final = tuple(field.alias or name for name, field in KeyLine.model_fields.items())


class _TooLong(Exception):
    """A line is longer than any line of keys."""

    complaint = f"is longer than {LINE_MAX_CHARACTERS} characters; what follows was not read"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where imported keys go: to whom, what they may look like, and what encrypts their webhook secrets."""

    account_id: str
    key_format: KeyFormat
    encryption: Encryption


def csv_lines(file: TextIO) -> Iterator[Line]:
    """Read CSV with a header of member names; an empty cell says nothing, lists are separated by blanks or ``;``."""
    reader = csv.reader((text for _, text in _bounded(file)), strict=True)
    try:
        header = next(reader, [])
        complaint = _header_complaint(header)
        if complaint is not None:
            yield 1, complaint
            return
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                yield reader.line_num, f"there are {len(cells)} cells under a header of {len(header)}"
                continue
            yield reader.line_num, {name: _cell(name, text) for name, text in zip(header, cells, strict=True) if text}
    except csv.Error as error:
        yield reader.line_num, f"is not CSV: {error}"
    except _TooLong:
        yield reader.line_num + 1, _TooLong.complaint


def _header_complaint(header: list[str]) -> str | None:
    unknown = [name for name in header if name not in _MEMBERS]
    if unknown or len(set(header)) != len(header):
        return f"the header must name each of its columns once, out of {', '.join(_MEMBERS)}"
    return None


def _bounded(file: TextIO) -> Iterator[tuple[int, str]]:
    """Give the lines with their numbers; a line without an end must not fill the memory."""
    number = 0
    while text := file.readline(LINE_MAX_CHARACTERS):
        number += 1
        if len(text) == LINE_MAX_CHARACTERS and not text.endswith("\n"):
            raise _TooLong
        yield number, text


def _cell(name: str, text: str) -> Any:
    if name in _LISTS:
        return [part for part in _SEPARATORS.split(text) if part]
    return int(text) if name == "rateLimitPerHour" and _WHOLE.fullmatch(text) else text


def json_lines(file: TextIO) -> Iterator[Line]:
    """Read a JSON object a line; empty lines are passed over."""
    number = 0
    try:
        for number, text in _bounded(file):
            if text.strip():
                yield number, _object(text)
    except _TooLong:
        yield number + 1, _TooLong.complaint


def _object(text: str) -> dict[str, Any] | str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return "is not JSON"
    return value if isinstance(value, dict) else "is not a JSON object"


def imported_keys(
    lines: Iterator[Line], destination: Destination, rules: Rules, problems: LineProblems
) -> Iterator[ImportedKey]:
    """Give the keys of *lines* that are right, for *destination*; what is wrong goes to *problems*."""
    for number, members in lines:
        if isinstance(members, str):
            problems.add(LineProblem(number, members))
            continue
        try:
            line = checked(members, KeyLine, rules)
            digest, prefix = _secret(line, destination.key_format)
        except Refused as refused:
            for what in problems_of(refused):
                problems.add(LineProblem(number, what))
        except ValueError as error:
            problems.add(LineProblem(number, str(error)))
        else:
            yield ImportedKey(number, digest, prefix, _key(line, destination), line.status)


def _secret(line: KeyLine, key_format: KeyFormat) -> tuple[bytes, str]:
    """Give the digest and the prefix of the line's key; raises ValueError, which never shows the key."""
    if (line.key is None) == (line.sha256 is None):
        raise ValueError("expected either key or sha256")
    if line.webhook_url is not None and line.webhook_secret is None:
        raise ValueError(
            "webhookSecret: is required beside a webhookUrl; one that was made now would be seen by nobody"
        )
    if line.key is not None:
        credential = parse(line.key, key_format)
        if not isinstance(credential, Credential):
            raise ValueError(f"key: expected {' or '.join(key_format.prefixes)} and 16 to 64 letters, digits or _")
        if not key_format.legacy and not has_our_checksum(line.key, key_format.prefixes):
            raise ValueError("key: it was not issued here (no checksum of ours); set keys.legacy: true to import it")
        return credential.digest, credential.prefix
    assert line.sha256 is not None
    if _DIGEST.fullmatch(line.sha256) is None:
        raise ValueError("sha256: expected 64 hex digits")
    if not key_format.legacy:
        raise ValueError("sha256: nobody can tell whether that key was issued here; set keys.legacy: true to import it")
    return bytes.fromhex(line.sha256), line.key_prefix


def _key(line: KeyLine, destination: Destination) -> NewKey:
    key_id = line.id or new_key_id()
    secret = line.webhook_secret
    sealed = None if secret is None else seal_webhook_secret(destination.encryption, key_id, secret)
    return NewKey(
        id=key_id,
        account_id=destination.account_id,
        name=line.name,
        scopes=line.scopes,
        description=line.description,
        rate_limit_per_hour=line.rate_limit_per_hour,
        allowed_ips=line.allowed_ips,
        expires_at=line.expires_at,
        webhook_url=line.webhook_url,
        webhook_secret=None if sealed is None else sealed.ciphertext,
        webhook_secret_key_id=None if sealed is None else sealed.key_id,
    )
