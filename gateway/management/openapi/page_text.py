"""Text of the page: the little Markdown that descriptions use, lists and code, all of it escaped."""

from __future__ import annotations

import json
import re
from html import escape
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_CODE: Final = re.compile(r"`([^`]+)`")


def inline(text: str) -> str:
    """Write *text*, with code between backticks."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def paragraphs(markdown: str) -> str:
    """Write paragraphs and lists, which blank lines separate."""
    parts: list[str] = []
    for block in filter(None, markdown.split("\n\n")):
        lines = block.split("\n")
        if lines[0].startswith("- "):
            parts.append(listing(inline(line.removeprefix("- ")) for line in lines))
        else:
            parts.append(f"<p>{inline(block)}</p>")
    return "".join(parts)


def listing(items: Iterable[str]) -> str:
    """Write a list of *items*, which are HTML."""
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"


def code(text: str) -> str:
    """Write a block of code; it can be reached by keyboard, since it may have to be scrolled."""
    return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'


def pretty(value: Any) -> str:
    """Give *value* as JSON to be read."""
    return json.dumps(value, indent=2, ensure_ascii=False)
