"""A second opinion on bytes that are requests: naive, strict, and written without a look at the gateway's own code.

It reads what RFC 9112 leaves no doubt about, and stops at anything else. A server may refuse more than it does, but
never see a request that it does not see.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[^\r\n\0]*)?\r\n")
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://[^/?#]+")


@dataclass
class Read:
    """One request; *body* is without chunks, None where it is not all there."""

    method: bytes
    target: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes | None

    def all(self, name: bytes) -> list[bytes]:
        """The values of all fields called *name*."""
        return [value for have, value in self.fields if have.lower() == name]

    @property
    def origin_form(self) -> bytes:
        """Path and query, whatever the form of the target."""
        rest = _ABSOLUTE.sub(b"", self.target, count=1)
        return rest if rest.startswith(b"/") else b"/" + rest


def requests_in(raw: bytes) -> list[Read]:
    """All requests in *raw* up to the first that is in doubt or not complete, the incomplete one included."""
    found = []
    while True:
        # Empty lines before a request are ignored (RFC 9112 2.2), by everybody also where they are ended by half.
        head, end, raw = raw.lstrip(b"\r\n").partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        request_line = [part for part in lines[0].split(b" ") if part]
        fields = [_field(line) for line in lines[1:]]
        known = [field for field in fields if field is not None]
        if not end or len(request_line) != 3 or len(known) < len(fields) or re.search(rb"[\r\n\0]", b"".join(lines)):
            return found
        request = Read(request_line[0], request_line[1], known, None)
        framed = _body(request, request_line[2], raw)
        if framed is None:
            return found
        request.body, raw = framed
        found.append(request)
        if request.body is None:
            return found


def _field(line: bytes) -> tuple[bytes, bytes] | None:
    name, colon, value = line.partition(b":")
    return (name, value.strip(b" \t")) if colon and _TOKEN.fullmatch(name) else None


def _body(request: Read, version: bytes, raw: bytes) -> tuple[bytes | None, bytes] | None:
    """Give the body, None if it is cut, and what follows; nothing at all where the framing is in doubt."""
    lengths, codings = request.all(b"content-length"), request.all(b"transfer-encoding")
    if version not in {b"HTTP/1.0", b"HTTP/1.1"}:
        return None
    if codings:
        if lengths or version == b"HTTP/1.0" or [coding.lower() for coding in codings] != [b"chunked"]:
            return None
        return _chunks(raw)
    if not lengths:
        return b"", raw
    if len(lengths) > 1 or not re.fullmatch(rb"[0-9]+", lengths[0]):
        return None
    size = int(lengths[0])
    return (raw[:size], raw[size:]) if size <= len(raw) else (None, b"")


def _chunks(raw: bytes) -> tuple[bytes | None, bytes]:
    body = b""
    while True:
        size = _CHUNK.match(raw)
        if size is None:
            return None, b""
        raw = raw[size.end() :]
        length = int(size[1], 16)
        if length == 0:
            break
        if raw[length : length + 2] != b"\r\n":
            return None, b""
        body, raw = body + raw[:length], raw[length + 2 :]
    while not raw.startswith(b"\r\n"):
        line, end, raw = raw.partition(b"\r\n")
        if not end or _field(line) is None:
            return None, b""
    return body, raw[2:]


def backend_paths(path: str) -> Iterator[str]:
    """Give *path* as backends of many kinds resolve it: decoded never, once or twice, and cleaned in several ways."""
    for times, backslashes, parameters in product(range(3), (False, True), (False, True)):
        read = path
        for _ in range(times):
            read = unquote(read, errors="surrogateescape")
        if backslashes:
            read = read.replace("\\", "/")
        if parameters:
            read = re.sub(r";[^/]*", "", read)
        yield read
        yield posixpath.normpath("/" + read.lstrip("/"))
