"""Heads: what is read of nearly every request's head, within reach; all else is looked up among its fields.

Plain heads are read by llhttp without aiohttp around it: no dictionary of fields is made until somebody asks for one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import httptools
from aiohttp import hdrs
from aiohttp.http import HttpVersion11
from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy, istr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.http import HttpVersion, RawRequestMessage

    from gateway.core.headers import Field

TRACEPARENT: Final = istr("traceparent")
SPECIAL: Final = (hdrs.TRANSFER_ENCODING, hdrs.CONTENT_LENGTH, hdrs.EXPECT, hdrs.UPGRADE, hdrs.TE)
SPELLINGS_MAX: Final = 2048
_METHODS: Final = {b"GET": "GET", b"HEAD": "HEAD", b"DELETE": "DELETE"}
_KEEPS: Final = frozenset({b"keep-alive", b"Keep-Alive"})
_SPACE_AT_END: Final = re.compile(rb"[ \t]\r")
_PASSED, _HOST, _AUTHORIZATION, _TRACEPARENT, _CONNECTION, _SPECIAL = range(6)
_KINDS: Final = {
    b"host": _HOST,
    b"authorization": _AUTHORIZATION,
    b"traceparent": _TRACEPARENT,
    b"connection": _CONNECTION,
    **{name.lower().encode(): _SPECIAL for name in SPECIAL},
}
_NO_FIELDS: Final = CIMultiDictProxy(CIMultiDict[str]())
_spellings: Final[dict[bytes, int]] = {}


class RequestHead(Struct):
    """The head of a request. *raw_headers* are all fields as sent, *hosts* and *authorizations* those of that name.

    *special* is whether a field says how the message is carried, one of SPECIAL; most requests have none.
    """

    method: str
    path: str
    version: HttpVersion
    raw_headers: Sequence[Field]
    hosts: Sequence[str]
    authorizations: Sequence[str]
    traceparent: str | None
    special: bool = False
    should_close: bool = False
    upgrade: bool = False
    dictionary: CIMultiDictProxy[str] | None = None

    @classmethod
    def from_message(cls, message: RawRequestMessage) -> RequestHead:
        """Take what aiohttp has parsed."""
        # What stands for a request that could not be parsed has no fields, in a dictionary of another kind.
        headers = message.headers or _NO_FIELDS
        return cls(
            message.method,
            message.path,
            message.version,
            message.raw_headers,
            headers.getall(hdrs.HOST, ()),
            headers.getall(hdrs.AUTHORIZATION, ()),
            headers.get(TRACEPARENT),
            any(name in headers for name in SPECIAL),
            message.should_close,
            message.upgrade,
            headers,
        )

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """All fields by name; made when first asked for."""
        if self.dictionary is None:
            fields = ((_text(name), _text(value)) for name, value in self.raw_headers)
            self.dictionary = CIMultiDictProxy(CIMultiDict(fields))
        return self.dictionary


class PlainHeadReader:
    """Reads the heads of one connection, as long as they are plain."""

    __slots__ = ("_fields", "_parser", "_target")

    def __init__(self) -> None:
        """Begin before the first head."""
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._fields: list[Field] = []

    def on_url(self, target: bytes) -> None:
        """Keep the request target (llhttp calls this)."""
        self._target = target

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field (llhttp calls this)."""
        self._fields.append((name, value))

    def read(self, data: bytes) -> RequestHead | None:
        """Give the head that *data* is, None unless it is valid and plain; then nothing more is to be read here.

        *data* ends with the head's end. Plain heads are those of GET, HEAD and DELETE of a path in HTTP/1.1 that
        keep their connection, without SPECIAL fields, without space at a line's end, and without a second one of those
        fields that there can be only one of.
        """
        if _SPACE_AT_END.search(data) is not None:
            return None
        fields: list[Field] = []
        self._fields = fields
        parser = self._parser
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return None
        method = _METHODS.get(parser.get_method())
        if method is None or parser.get_http_version() != "1.1" or not self._target.startswith(b"/"):
            return None
        host = authorization = traceparent = None
        for name, value in fields:
            kind = _spellings.get(name)
            if kind is None:
                kind = _kind(name)
            if kind == _PASSED:
                continue
            if kind == _HOST and host is None:
                host = _text(value)
            elif kind == _AUTHORIZATION and authorization is None:
                authorization = _text(value)
            elif kind == _TRACEPARENT and traceparent is None:
                traceparent = _text(value)
            elif kind != _CONNECTION or value not in _KEEPS:
                return None
        if host is None:
            return None
        authorizations = () if authorization is None else (authorization,)
        return RequestHead(method, _text(self._target), HttpVersion11, fields, (host,), authorizations, traceparent)


def _kind(name: bytes) -> int:
    """Judge a spelling of a field's name that is not remembered."""
    kind = _KINDS.get(name.lower(), _PASSED)
    if len(_spellings) < SPELLINGS_MAX:
        _spellings[name] = kind
    return kind


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
