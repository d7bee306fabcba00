"""nginx's language: blocks, texts, and patterns of ours as its regular expressions."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from gateway.core.answers import error_envelope
from gateway.core.routes import ANY, TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.core.denials import Refusal
    from gateway.core.routes import Pattern


def block(head: str, lines: Iterable[str]) -> list[str]:
    """Give a block of directives."""
    return [f"{head} {{", *(f"    {line}" for line in lines), "}"]


def comment(text: str) -> list[str]:
    """Give a comment."""
    return [f"# {text}"]


def quoted(text: str) -> str:
    """Give a text in which only variables have a meaning."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def duration(seconds: float) -> str:
    """Give a time, in whole milliseconds."""
    return f"{round(seconds * 1000)}ms"


def server_address(host: str, port: int) -> str:
    """Give what `server` wants."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def pattern(route: Pattern, prefixes: tuple[str, ...]) -> str:
    """Give a regular expression, in quotes, of the paths that *route* takes, with and without one of *prefixes*."""
    parts = {ANY: "[^/]+", TOKEN: "[A-Za-z0-9_-]+"}
    path = "".join("/" + (parts.get(segment) or re.escape(segment)) for segment in route.segments)
    start = f"(?:{'|'.join(re.escape(prefix) for prefix in prefixes)})?" if prefixes else ""
    return f'"^{start}{path}{"(?:/.*)?" if route.tail else ""}$"'


def error_body(refusal: Refusal) -> str:
    """Give the body of a refusal, with variables of ours for what differs from request to request."""
    envelope = error_envelope(refusal, "$gateway_id", "$gateway_time")
    return json.dumps(envelope, separators=(",", ":"))
