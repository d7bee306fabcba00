"""Heads: what decisions read of one, by llhttp without aiohttp around it. Anything odd is left to the complete tier.

No dictionary of all fields is made: those that decisions look at are picked out while they are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httptools
from aiohttp import hdrs
from msgspec import Struct

from gateway.sidecar.read import BODY_LENGTH

if TYPE_CHECKING:
    from collections.abc import Sequence

READ: Final = frozenset(
    {
        *("X-Original-Method", "X-Original-URI", BODY_LENGTH, "X-Forwarded-Method", "X-Forwarded-Uri", "X-Request-Id"),
        *(str(hdrs.X_FORWARDED_FOR), str(hdrs.FORWARDED), str(hdrs.AUTHORIZATION), "X-API-Key"),
    }
)
"""The fields that decisions ask for; no other can be asked for here."""
SPELLINGS_MAX: Final = 2048
_METHODS: Final = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
_KEEPS: Final = frozenset({b"keep-alive", b"Keep-Alive"})
_PASSED, _HOST, _CONNECTION, _LENGTH, _CODING = "", "host", "connection", "content-length", "transfer-encoding"
_KINDS: Final = {name.encode(): name for name in (_HOST, _CONNECTION, _LENGTH, _CODING)} | {
    name.lower().encode(): name for name in READ
}
_spellings: Final[dict[bytes, str]] = {}


class PlainFields:
    """The fields of READ, by their names as they are written there."""

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, list[str]]) -> None:
        """Take all values of each field that there is."""
        self._values = values

    def getall(self, key: str, default: Sequence[str]) -> Sequence[str]:
        """Give all values of a field of READ."""
        assert key in READ
        return self._values.get(key, default)


class PlainHead(Struct):
    """The head of a question. *names* are those of all its fields, as sent."""

    method: str
    target: str
    fields: PlainFields
    names: list[bytes]


class PlainHeadReader:
    """Reads the heads of one connection, as long as they are plain."""

    __slots__ = ("_fields", "_parser", "_target")

    def __init__(self) -> None:
        """Begin before the first head."""
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []

    def on_url(self, target: bytes) -> None:
        """Keep the request target (llhttp calls this)."""
        self._target = target

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field (llhttp calls this)."""
        self._fields.append((name, value))

    def read(self, data: bytes, endpoint: bytes) -> PlainHead | None:
        """Give the head that *data*, up to its end, is; None unless it is plain, and then this reader is done.

        Plain heads ask for a path at or below *endpoint* in HTTP/1.1, keep their connection, and declare no body.
        """
        fields = self._fields = []
        parser = self._parser
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return None
        method, target = _METHODS.get(parser.get_method()), self._target
        if method is None or parser.get_http_version() != "1.1" or not target.startswith(endpoint):
            return None
        if target[len(endpoint) : len(endpoint) + 1] not in (b"/", b"", b"?"):
            return None
        return _plain(method, target, fields)


def _plain(method: str, target: bytes, fields: list[tuple[bytes, bytes]]) -> PlainHead | None:
    hosts = 0
    names: list[bytes] = []
    values: dict[str, list[str]] = {}
    for name, value in fields:
        names.append(name)
        kind = _spellings.get(name)
        if kind is None:
            kind = _kind(name)
        if kind == _PASSED:
            continue
        if kind == _HOST:
            hosts += 1
        elif kind == _CODING or (kind == _LENGTH and value != b"0") or (kind == _CONNECTION and value not in _KEEPS):
            return None
        elif kind in values:
            values[kind].append(_text(value))
        else:
            values[kind] = [_text(value)]
    return PlainHead(method, _text(target), PlainFields(values), names) if hosts == 1 else None


def _kind(name: bytes) -> str:
    """Judge a spelling of a field's name that is not remembered."""
    kind = _KINDS.get(name.lower(), _PASSED)
    if len(_spellings) < SPELLINGS_MAX:
        _spellings[name] = kind
    return kind


def _text(value: bytes) -> str:
    # llhttp leaves space at the end of a line to us (RFC 9112 section 5.1).
    return value.decode("utf-8", "surrogateescape").rstrip(" \t")
