"""YAML with comments: values as block style, what is short on one line. A key that begins with # is a comment."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LINE_MAX: Final = 100
_PLAIN: Final = re.compile(r"[A-Za-z_/.][A-Za-z0-9_/.-]*")
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n", ".", ".."})


def document(value: Mapping[str, Any]) -> str:
    """Give the text of a whole file."""
    return "\n".join(_block(value)) + "\n"


def _block(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key.startswith("#"):
                yield key
            else:
                yield from _entry(f"{_scalar(key)}:", item, "  ")
    else:
        for item in value:
            yield from _item(item)


def _entry(head: str, value: Any, indent: str) -> Iterator[str]:
    short = _flow(value)
    if short is not None and (len(head) + len(short) < LINE_MAX or not _has_parts(value)):
        yield f"{head} {short}"
        return
    yield head
    yield from (f"{indent}{line}" for line in _block(value))


def _item(value: Any) -> Iterator[str]:
    short = _flow(value)
    if short is not None and (len(short) < LINE_MAX or not _has_parts(value)):
        yield f"- {short}"
        return
    for number, line in enumerate(_block(value)):
        yield f"- {line}" if number == 0 else f"  {line}"


def _has_parts(value: Any) -> bool:
    return isinstance(value, (dict, list, tuple)) and bool(value)


def _flow(value: Any) -> str | None:
    """Give *value* on one line; None if it has comments, which need lines of their own."""
    if isinstance(value, dict):
        parts = _flows(value.values())
        if parts is None or any(key.startswith("#") for key in value):
            return None
        return "{" + ", ".join(f"{_scalar(key)}: {part}" for key, part in zip(value, parts, strict=True)) + "}"
    if isinstance(value, (list, tuple)):
        parts = _flows(value)
        return None if parts is None else "[" + ", ".join(parts) + "]"
    return _scalar(value)


def _flows(values: Any) -> Sequence[str] | None:
    parts = [_flow(value) for value in values]
    return None if None in parts else [part for part in parts if part is not None]


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value)
