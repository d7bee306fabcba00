"""The one parse of a request target; what has two readings is refused, what is returned is what is forwarded.

Contract section 1 and RFC 9112 section 3.2. The decision is taken on the very string that the upstream gets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from msgspec import Struct

_PLAIN: Final = re.compile(r"(?:/[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*+)++/?|/")
_VISIBLE: Final = re.compile(r"[\x21-\x7e]*")
_ABSOLUTE: Final = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_REFUSED_BYTES: Final = frozenset([*range(0x20), 0x7F, *b"/\\;%?#"])


class Target(Struct):
    """A request target in origin form, stripped of the first matching prefix.

    *path* and *query* are as sent (*query* with its question mark, or empty). *segments* are the path's, as sent;
    *decoded* are the same with escapes resolved, or None when there are no escapes.
    """

    path: str
    query: str
    segments: tuple[str, ...]
    decoded: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class TargetRefused:
    """Why a target was not understood: a sentence for the client that repeats nothing of what it sent."""

    reason: str


def parse_target(raw: str, strip_prefixes: tuple[str, ...] = ()) -> Target | TargetRefused:
    """Parse the target of a request line.

    Refused: control bytes and non-ASCII, fragments, `//`, dot segments in any spelling, backslashes, semicolons,
    escapes that do not decode to UTF-8, and escaped slashes, percent signs, control characters and the like.
    """
    if not raw.startswith("/"):
        absolute = _ABSOLUTE.fullmatch(raw)
        if absolute is None or not absolute[1] or "@" in absolute[1]:
            return TargetRefused("The request target must be a path that begins with /")
        raw = absolute[2] if absolute[2].startswith("/") else "/" + absolute[2]
    path, query = raw, ""
    if "?" in raw:
        path, mark, query = raw.partition("?")
        query = mark + query
    if _PLAIN.fullmatch(path) is None:
        refused = _odd_path(path)
        if refused is not None:
            return refused
    if query and (_VISIBLE.fullmatch(query) is None or "#" in query):
        return TargetRefused("The query contains characters that must be percent-encoded")
    if path.startswith(strip_prefixes):
        path = _strip(path, strip_prefixes)
    segments = tuple(path[1:].split("/"))
    decoded = None
    if "%" in path:
        decoded = tuple(unquote_to_bytes(segment).decode() for segment in segments)
    return Target(path, query, segments, decoded)


def _strip(path: str, prefixes: tuple[str, ...]) -> str:
    for prefix in prefixes:
        if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
            return path[len(prefix) :] or "/"
    return path


def _odd_path(path: str) -> TargetRefused | None:
    """Look closer at a path that is not plain: most are refused, those with harmless escapes are not."""
    if _VISIBLE.fullmatch(path) is None:
        return TargetRefused("The path contains characters that must be percent-encoded")
    if "\\" in path or ";" in path or "#" in path:
        return TargetRefused("The path contains a backslash, a semicolon or a fragment")
    if "//" in path:
        return TargetRefused("The path contains an empty segment")
    if _ESCAPE.search(path):
        return TargetRefused("The path contains a percent sign that is not an escape")
    for segment in path[1:].split("/"):
        decoded = unquote_to_bytes(segment)
        if decoded in (b".", b".."):
            return TargetRefused("The path contains a dot segment")
        if "%" not in segment:
            continue
        if not _REFUSED_BYTES.isdisjoint(decoded):
            return TargetRefused("The path contains an escaped slash, percent sign or control character")
        try:
            decoded.decode()
        except UnicodeDecodeError:
            return TargetRefused("The path contains escapes that are not UTF-8")
    return None
