"""Lines of a file of keys, CSV or JSON, checked by the rules of the API; what is wrong is told by its line."""

from __future__ import annotations

import csv
import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, TextIO

from pydantic import Field, ValidationError

from gateway.adapters.postgres.key_import import ImportedKey, LineProblem
from gateway.adapters.postgres.keys import RATE_LIMIT_PER_HOUR, NewKey, new_key_id
from gateway.core.credentials import PREFIX_CHARACTERS, Credential, has_our_checksum, parse
from gateway.core.keys import KeyStatus
from gateway.core.snapshot import KeyFormat
from gateway.management.bodies import Body

# Pydantic reads these when it builds the model.
from gateway.management.key_bodies import Expiry, Name, Networks, RateLimit, Scopes, Status  # noqa: TC001  # see above

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.management.key_bodies import Rules

Line = tuple[int, dict[str, Any] | str]
"""The number of a line, and its members, or what is wrong with it."""

_LISTS: Final = ("scopes", "allowedIps")
_SEPARATORS: Final = re.compile(r"[\s;,]+")
_WHOLE: Final = re.compile(r"[0-9]{1,18}")
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


def csv_lines(file: TextIO) -> Iterator[Line]:
    """Read CSV with a header of member names; an empty cell says nothing, lists are separated by blanks or ``;``."""
    reader = csv.reader(file, strict=True)
    try:
        header = next(reader, [])
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                yield reader.line_num, f"there are {len(cells)} cells under a header of {len(header)}"
                continue
            yield reader.line_num, {name: _cell(name, text) for name, text in zip(header, cells, strict=True) if text}
    except csv.Error as error:
        yield reader.line_num, f"is not CSV: {error}"


def _cell(name: str, text: str) -> Any:
    if name in _LISTS:
        return [part for part in _SEPARATORS.split(text) if part]
    return int(text) if name == "rateLimitPerHour" and _WHOLE.fullmatch(text) else text


def json_lines(file: TextIO) -> Iterator[Line]:
    """Read a JSON object a line; empty lines are passed over."""
    for number, text in enumerate(file, start=1):
        if not text.strip():
            continue
        try:
            value = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            yield number, "is not JSON"
            continue
        yield number, value if isinstance(value, dict) else "is not a JSON object"


def imported_keys(
    lines: Iterator[Line], account_id: str, key_format: KeyFormat, rules: Rules, problems: list[LineProblem]
) -> Iterator[ImportedKey]:
    """Give the keys of *lines* that are right, for *account_id*; what is wrong goes to *problems*."""
    for number, members in lines:
        if isinstance(members, str):
            problems.append(LineProblem(number, members))
            continue
        if not _storable(members):
            problems.append(LineProblem(number, "there is a character in it that cannot be stored"))
            continue
        try:
            line = KeyLine.model_validate(members, context=rules)
            digest, prefix = _secret(line, key_format)
        except ValidationError as error:
            problems += [LineProblem(number, what) for what in told(error)]
        except ValueError as error:
            problems.append(LineProblem(number, str(error)))
        else:
            yield ImportedKey(number, digest, prefix, _key(line, account_id), line.status)


def told(error: ValidationError) -> list[str]:
    """Say what is wrong, field by field, without the values."""
    return [
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors(include_url=False, include_input=False)
    ]


def _storable(members: dict[str, Any]) -> bool:
    """Say whether all text can be stored: Postgres takes neither NUL nor half a surrogate pair."""
    text = json.dumps(members, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\\u0000" not in text


def _secret(line: KeyLine, key_format: KeyFormat) -> tuple[bytes, str]:
    """Give the digest and the prefix of the line's key; raises ValueError, which never shows the key."""
    if (line.key is None) == (line.sha256 is None):
        raise ValueError("expected either key or sha256")
    if line.key is not None:
        credential = parse(line.key, KeyFormat(key_format.prefixes, legacy=True))
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


def _key(line: KeyLine, account_id: str) -> NewKey:
    return NewKey(
        id=line.id or new_key_id(),
        account_id=account_id,
        name=line.name,
        scopes=line.scopes,
        description=line.description,
        rate_limit_per_hour=line.rate_limit_per_hour,
        allowed_ips=line.allowed_ips,
        expires_at=line.expires_at,
    )
