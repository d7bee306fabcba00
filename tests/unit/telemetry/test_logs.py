"""Logs: one line an event, on standard error, and no key in any of them. In processes: a log's set-up is for good."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from gateway.core.credentials import issue

KEY = issue("bk_live_", 2**150)
SET_UP = "import logging, structlog\nfrom gateway.telemetry.logs import configure_logs\nconfigure_logs({level!r}, {style!r})\n"


def logged(code: str, level: str = "info", style: str = "json") -> str:
    program = SET_UP.format(level=level, style=style) + code
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=20, text=True)
    assert ended.stdout == ""
    assert KEY not in ended.stderr
    return ended.stderr


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_an_event_is_one_line_of_json_with_its_level_and_time() -> None:
    [event] = events(logged("structlog.get_logger().warning('redis lost', reason='line\\r\\nline', count=3)"))
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "redis lost", "level": "warning", "reason": "line\r\nline", "count": 3}


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_key_is_cut_down_to_its_prefix_wherever_it_stands(style: str) -> None:
    code = f"""
log = structlog.get_logger()
log.info("seen", text="Bearer {KEY}", texts=["{KEY}", ("{KEY}",)])
try:
    raise ValueError("{KEY}")
except ValueError:
    log.exception("bug")
"""
    text = logged(code, style=style)
    assert text.count(KEY[:12] + "…") + text.count(KEY[:12] + "\\u2026") >= 4


def test_a_library_may_warn_but_tells_nothing_of_a_request() -> None:
    code = f"""
try:
    raise ValueError("GET / HTTP/1.1")
except ValueError:
    logging.getLogger("aiohttp.server").exception("Error handling request %s", "{KEY}")
"""
    assert logged(code) == f"ERROR aiohttp.server Error handling request {KEY[:12]}…\n"


def test_what_is_below_the_level_is_not_written() -> None:
    assert logged("structlog.get_logger().info('quiet')", level="warning") == ""


@pytest.mark.parametrize("style", ["json", "console"])
def test_what_a_client_sends_moves_no_cursor_and_makes_no_line(style: str) -> None:
    code = """
log = structlog.get_logger()
hostile = "\\x1b[31m\\r\\n\\x9b2Jsecond"
log.error("plain", path=hostile, agents=[hostile])
logging.getLogger("aiohttp.server").error(hostile)
try:
    raise ValueError(hostile)
except ValueError:
    log.exception("bug")
"""
    text = logged(code, style=style)
    assert not set(text) & set("\x1b\r\x9b")
    # Only a traceback on the console has lines of its own.
    assert sum("second" in line and not line.startswith(("20", "{", "ERROR")) for line in text.splitlines()) == (
        1 if style == "console" else 0
    )
