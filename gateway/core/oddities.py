"""Odd paths: what a route may let into its paths, and the ways in which servers are known to read such a path.

A path that is odd is refused unless its route asks for that oddity, and unless every reading leads to that same route.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import product
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

Segments = tuple[str, ...]


class Oddity(StrEnum):
    """What some servers take as part of a path's structure, or as the end of it, and others as plain text."""

    DOT_SEGMENTS = "dot_segments"
    DOUBLE_SLASH = "double_slash"
    ENCODED_SLASH = "encoded_slash"
    BACKSLASH = "backslash"
    SEMICOLON = "semicolon"
    ENCODED_PERCENT = "encoded_percent"
    ENCODED_DELIMITER = "encoded_delimiter"
    CONTROL_CHARACTER = "control_character"
    INVALID_UTF8 = "invalid_utf8"


BELOW_ONLY: Final = frozenset({Oddity.DOT_SEGMENTS, Oddity.DOUBLE_SLASH, Oddity.ENCODED_SLASH, Oddity.BACKSLASH})
"""Oddities with a reading of another number of segments: only patterns that end in `**` can have them."""

REASONS: Final = {
    Oddity.DOT_SEGMENTS: "The path contains a dot segment",
    Oddity.DOUBLE_SLASH: "The path contains an empty segment",
    Oddity.ENCODED_SLASH: "The path contains an escaped slash",
    Oddity.BACKSLASH: "The path contains a backslash",
    Oddity.SEMICOLON: "The path contains a semicolon",
    Oddity.ENCODED_PERCENT: "The path contains an escaped percent sign",
    Oddity.ENCODED_DELIMITER: "The path contains an escaped question mark or fragment sign",
    Oddity.CONTROL_CHARACTER: "The path contains an escaped control character",
    Oddity.INVALID_UTF8: "The path contains escapes that are not UTF-8",
}
"""What the client is told; nothing of what it sent is repeated."""

_CONTROLS: Final = frozenset([*range(0x20), 0x7F])


def oddities_of(path: str) -> frozenset[Oddity]:
    """Find what is odd in *path*, which is visible ASCII with well-formed escapes, also if it were decoded twice."""
    once = unquote_to_bytes(path)
    twice = unquote_to_bytes(once)
    found: set[Oddity] = set()
    for escaped, decoded in ((path.encode("ascii"), once), (once, twice)):
        if b"%2f" in escaped.lower():
            found.add(Oddity.ENCODED_SLASH)
        if b"%" in decoded:
            found.add(Oddity.ENCODED_PERCENT)
        if b"\\" in decoded:
            found.add(Oddity.BACKSLASH)
        if b";" in decoded:
            found.add(Oddity.SEMICOLON)
        if b"?" in decoded or b"#" in decoded:
            found.add(Oddity.ENCODED_DELIMITER)
        if not _CONTROLS.isdisjoint(decoded):
            found.add(Oddity.CONTROL_CHARACTER)
        try:
            decoded.decode()
        except UnicodeDecodeError:
            found.add(Oddity.INVALID_UTF8)
    pieces = [piece.partition(b";")[0] for piece in twice.replace(b"\\", b"/").split(b"/")[1:]]
    if b"." in pieces or b".." in pieces:
        found.add(Oddity.DOT_SEGMENTS)
    if b"" in pieces[:-1]:
        found.add(Oddity.DOUBLE_SLASH)
    return frozenset(found)


def readings(path: str, oddities: frozenset[Oddity]) -> Iterator[Segments]:
    """Give the segments of *path* as servers read them: decoded or not, and each of *oddities* resolved or not."""
    resolving = [step for oddity, step in _STEPS.items() if oddity in oddities]
    for segments in _decodings(path):
        for chosen in product((False, True), repeat=len(resolving)):
            result = segments
            for step, wanted in zip(resolving, chosen, strict=True):
                result = step(result) if wanted else result
            yield result


def decode(segment: str) -> str:
    """Resolve the escapes of *segment*; bytes that are not UTF-8 stay recognisable as such."""
    return unquote(segment, errors="surrogateescape")


def _decodings(path: str) -> Iterator[Segments]:
    """Give *path* as sent, with each segment decoded, and split after it was decoded once and twice."""
    sent = tuple(path[1:].split("/"))
    yield sent
    once = tuple(map(decode, sent))
    yield once
    yield tuple("/".join(once).split("/"))
    yield tuple("/".join(map(decode, once)).split("/"))


def _without_backslashes(segments: Segments) -> Segments:
    return tuple("/".join(segments).replace("\\", "/").split("/"))


def _without_parameters(segments: Segments) -> Segments:
    return tuple(segment.partition(";")[0] for segment in segments)


def _without_empty(segments: Segments) -> Segments:
    return (*filter(None, segments[:-1]), segments[-1])


def _without_dots(segments: Segments) -> Segments:
    """Remove dot segments (RFC 3986 section 5.2.4)."""
    result: list[str] = []
    for segment in segments:
        if segment == "..":
            del result[-1:]
        elif segment != ".":
            result.append(segment)
    if segments[-1] in {".", ".."}:
        result.append("")
    return tuple(result)


_STEPS: Final = {
    Oddity.BACKSLASH: _without_backslashes,
    Oddity.SEMICOLON: _without_parameters,
    Oddity.DOUBLE_SLASH: _without_empty,
    Oddity.DOT_SEGMENTS: _without_dots,
}
