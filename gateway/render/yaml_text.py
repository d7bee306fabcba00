"""YAML with comments: block style, but what is short on one line.

A key that begins with # is a comment. What is Shared is written where it comes first, and referred to afterwards.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LINE_MAX: Final = 110
_PLAIN: Final = re.compile(r"[A-Za-z_/.][A-Za-z0-9_/.-]*")
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n", ".", ".."})


@dataclass(frozen=True, slots=True)
class Shared:
    """A *value* that stands at several places, by the *name* of its anchor."""

    name: str
    value: Any


def document(value: Mapping[str, Any]) -> str:
    """Give the text of a whole file."""
    return "\n".join(_block(value, set())) + "\n"


def _block(value: Any, anchors: set[str]) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key.startswith("#"):
                yield key
            else:
                yield from _entry(f"{_scalar(key)}:", item, anchors)
    else:
        for item in value:
            yield from _item(item, anchors)


def _entry(head: str, value: Any, anchors: set[str]) -> Iterator[str]:
    if isinstance(value, Shared):
        if value.name in anchors:
            yield f"{head} *{value.name}"
            return
        anchors.add(value.name)
        head, value = f"{head} &{value.name}", value.value
    short = _flow(value)
    if short is not None and (len(head) + len(short) < LINE_MAX or not _has_parts(value)):
        yield f"{head} {short}"
        return
    yield head
    yield from (f"  {line}" for line in _block(value, anchors))


def _item(value: Any, anchors: set[str]) -> Iterator[str]:
    short = _flow(value)
    if short is not None and (len(short) < LINE_MAX or not _has_parts(value)):
        yield f"- {short}"
        return
    for number, line in enumerate(_block(value, anchors)):
        yield f"- {line}" if number == 0 else f"  {line}"


def _has_parts(value: Any) -> bool:
    return isinstance(value, (dict, list)) and bool(value)


def _flow(value: Any) -> str | None:
    """Give *value* on one line; None if it has comments or anchors, which need lines of their own."""
    if isinstance(value, Shared):
        return None
    if isinstance(value, dict):
        parts = [_flow(item) for item in value.values()]
        if None in parts or any(key.startswith("#") for key in value):
            return None
        return "{" + ", ".join(f"{_scalar(key)}: {part}" for key, part in zip(value, parts, strict=True)) + "}"
    if isinstance(value, list):
        parts = [_flow(item) for item in value]
        return None if None in parts else "[" + ", ".join(part for part in parts if part is not None) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value)
