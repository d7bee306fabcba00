"""What configurations in languages with blocks have in common: blocks, comments, times."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def block(head: str, lines: Iterable[str], indent: str = "    ") -> list[str]:
    """Give a block of directives; without a *head* it begins with its brace."""
    return [f"{head} {{".lstrip(), *(f"{indent}{line}" for line in lines), "}"]


def comments(*texts: str) -> list[str]:
    """Give comments, one a line."""
    return [f"# {text}".rstrip() for text in texts]


def milliseconds(seconds: float) -> str:
    """Give a time, in whole milliseconds."""
    return f"{round(seconds * 1000)}ms"
