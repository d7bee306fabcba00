"""Heads: what is read of nearly every request's head, within reach; all else is looked up among its fields.

Plain heads are read by llhttp without aiohttp around it: no dictionary of fields is made until somebody asks for one.
Clients repeat themselves: a section of fields that comes again on its connection, byte for byte, is not read again,
and what was made of it the last time is at hand.
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

    from gateway.core.credentials import Credential, CredentialProblem
    from gateway.core.headers import Field
    from gateway.core.snapshot import KeyFormat, RequestLimits, Snapshot

TRACEPARENT: Final = istr("traceparent")
SPECIAL: Final = (hdrs.TRANSFER_ENCODING, hdrs.CONTENT_LENGTH, hdrs.EXPECT, hdrs.UPGRADE, hdrs.TE)
HEAD_MAX: Final = 16 * 1024
SPELLINGS_MAX: Final = 2048
_METHODS: Final = {b"GET": "GET", b"HEAD": "HEAD", b"DELETE": "DELETE"}
_KEEPS: Final = frozenset({b"keep-alive", b"Keep-Alive"})
_STARTS: Final = (b"GET ", b"HEAD ", b"DELETE ")
_END: Final = b"\r\n\r\n"
_PLAIN_LINE: Final = re.compile(rb"(GET|HEAD|DELETE) (/[\x21-\x7e]*) HTTP/1\.1")
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


class HeaderSection(Struct):
    """The fields of a request (RFC 9110 section 6.3). *raw* are all as sent, *hosts* etc. the values of that name.

    *special* is whether a field says how the message is carried, one of SPECIAL; most requests have none. The rest is
    what others have made of the section, each with what it was made by, so that it is not made again while that holds:
    whose *limits* it keeps, the *credential* in it, and the lines that are *forwarded* of it.
    """

    raw: Sequence[Field]
    hosts: Sequence[str]
    authorizations: Sequence[str]
    traceparent: str | None
    special: bool = False
    limits: RequestLimits | None = None
    credential: tuple[KeyFormat, Credential | CredentialProblem] | None = None
    forwarded: tuple[Snapshot, bytes] | None = None
    _dictionary: CIMultiDictProxy[str] | None = None

    @classmethod
    def from_message(cls, message: RawRequestMessage) -> HeaderSection:
        """Take what aiohttp has parsed."""
        # What stands for a request that could not be parsed has no fields, in a dictionary of another kind.
        headers = message.headers or _NO_FIELDS
        return cls(
            message.raw_headers,
            headers.getall(hdrs.HOST, ()),
            headers.getall(hdrs.AUTHORIZATION, ()),
            headers.get(TRACEPARENT),
            any(name in headers for name in SPECIAL),
            _dictionary=headers,
        )

    @property
    def dictionary(self) -> CIMultiDictProxy[str]:
        """All fields by name; made when first asked for."""
        if self._dictionary is None:
            fields = ((_text(name), _text(value)) for name, value in self.raw)
            self._dictionary = CIMultiDictProxy(CIMultiDict(fields))
        return self._dictionary


class RequestHead(Struct):
    """The head of a request: its first line, its fields, and what they mean for the connection."""

    method: str
    path: str
    version: HttpVersion
    section: HeaderSection
    should_close: bool = False
    upgrade: bool = False

    @classmethod
    def from_message(cls, message: RawRequestMessage) -> RequestHead:
        """Take what aiohttp has parsed."""
        section = HeaderSection.from_message(message)
        return cls(message.method, message.path, message.version, section, message.should_close, message.upgrade)

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """All fields by name."""
        return self.section.dictionary


class PlainHeadReader:
    """Reads the heads of one connection, as long as they are plain."""

    __slots__ = ("_fields", "_parser", "_section", "_section_bytes", "_target")

    def __init__(self) -> None:
        """Begin before the first head."""
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._fields: list[Field] = []
        self._section: HeaderSection | None = None
        self._section_bytes = b""

    def on_url(self, target: bytes) -> None:
        """Keep the request target (llhttp calls this)."""
        self._target = target

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field (llhttp calls this)."""
        self._fields.append((name, value))

    def read(self, data: bytes) -> RequestHead | None:
        """Give the head that *data* is, None unless it is valid and plain; then nothing more is to be read here.

        Plain heads are those of GET, HEAD and DELETE of a path in HTTP/1.1 that come complete and alone, and keep their
        connection, without SPECIAL fields, without space at a line's end, and without a second one of those fields that
        there can be only one of.
        """
        section = self._section
        if section is not None and data.endswith(self._section_bytes):
            line = _PLAIN_LINE.fullmatch(data, 0, len(data) - len(self._section_bytes))
            if line is not None:
                return RequestHead(_METHODS[line[1]], line[2].decode("ascii"), HttpVersion11, section)
        if not data.startswith(_STARTS) or data.find(_END) != len(data) - len(_END) or len(data) > HEAD_MAX:
            return None
        return self._read(data)

    def _read(self, data: bytes) -> RequestHead | None:
        if _SPACE_AT_END.search(data) is not None:
            return None
        fields = self._fields = []
        parser = self._parser
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return None
        method = _METHODS.get(parser.get_method())
        if method is None or parser.get_http_version() != "1.1" or not self._target.startswith(b"/"):
            return None
        section = _plain_section(fields)
        if section is None:
            return None
        self._section, self._section_bytes = section, data[data.index(b"\r\n") :]
        return RequestHead(method, _text(self._target), HttpVersion11, section)


def _plain_section(fields: list[Field]) -> HeaderSection | None:
    """Sort *fields*; None unless they are those of a plain request."""
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
    return HeaderSection(fields, (host,), () if authorization is None else (authorization,), traceparent)


def _kind(name: bytes) -> int:
    """Judge a spelling of a field's name that is not remembered."""
    kind = _KINDS.get(name.lower(), _PASSED)
    if len(_spellings) < SPELLINGS_MAX:
        _spellings[name] = kind
    return kind


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
