"""The one parse of a request target; what has two readings is refused, what is returned is what is forwarded.

Contract section 1 and RFC 9112 section 3.2. The decision is taken on the very string that the upstream gets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from msgspec import Struct

from gateway.core.oddities import REASONS, Oddity, decode, oddities_of

HOST: Final = r"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?"
"""What the Host field may say (RFC 9110 section 7.2), as a regular expression."""

_PLAIN: Final = re.compile(r"(?:/[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*+)++/?|/")
_VISIBLE: Final = re.compile(r"[\x21-\x7e]*")
_ABSOLUTE: Final = re.compile(rf"https?://(?=[^/?#:])({HOST})(?![^/?#])(.*)", re.IGNORECASE | re.DOTALL)
_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NONE: Final[frozenset[Oddity]] = frozenset()


class Target(Struct):
    """A request target in origin form, stripped of the first matching prefix.

    *path* and *query* are as sent (*query* with its question mark, or empty). *segments* are the path's, as sent;
    *decoded* are the same with escapes resolved, or None where they are
    the same. *oddities* are for the route to allow.
    *authority* is that of a target in absolute form, which decides nothing.
    """

    path: str
    query: str
    segments: tuple[str, ...]
    decoded: tuple[str, ...] | None = None
    oddities: frozenset[Oddity] = _NONE
    authority: str | None = None


@dataclass(frozen=True, slots=True)
class TargetRefused:
    """Why a target was not understood: a sentence for the client that repeats nothing of what it sent."""

    reason: str


def parse_target(raw: str, strip_prefixes: tuple[str, ...] = ()) -> Target | TargetRefused:
    """Parse the target of a request line.

    Refused: asterisk and authority form, control bytes and non-ASCII, fragments, and escapes that are none. What is odd
    in another way is for the route to allow; see `RouteTable.match`.
    """
    authority = None
    if not raw.startswith("/"):
        absolute = _ABSOLUTE.fullmatch(raw)
        if absolute is None:
            return TargetRefused("The request target must be a path that begins with /")
        authority = absolute[1]
        raw = absolute[2] if absolute[2].startswith("/") else "/" + absolute[2]
    path, query = raw, ""
    if "?" in raw:
        path, mark, query = raw.partition("?")
        query = mark + query
    plain = _PLAIN.fullmatch(path) is not None
    if not plain:
        refused = _odd_path(path)
        if refused is not None:
            return refused
    if query and (_VISIBLE.fullmatch(query) is None or "#" in query):
        return TargetRefused("The query contains characters that must be percent-encoded")
    if path.startswith(strip_prefixes):
        path = _strip(path, strip_prefixes)
    segments = tuple(path[1:].split("/"))
    if plain:
        return Target(path, query, segments, authority=authority)
    if path[1:2] in {"/", "\\"}:  # What is behind two slashes would be an authority to some (RFC 3986 section 4.2).
        return TargetRefused(REASONS[Oddity.DOUBLE_SLASH])
    oddities = oddities_of(path)
    decoded = tuple(map(decode, segments)) if oddities or "%" in path else None
    return Target(path, query, segments, decoded, oddities, authority)


def _strip(path: str, prefixes: tuple[str, ...]) -> str:
    for prefix in prefixes:
        if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
            return path[len(prefix) :] or "/"
    return path


def _odd_path(path: str) -> TargetRefused | None:
    """Refuse a path that is not plain for what no route can allow."""
    if _VISIBLE.fullmatch(path) is None:
        return TargetRefused("The path contains characters that must be percent-encoded")
    if "#" in path:
        return TargetRefused("The path contains a fragment")
    if _ESCAPE.search(path):
        return TargetRefused("The path contains a percent sign that is not an escape")
    return None
