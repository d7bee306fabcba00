"""Logs: one event a line, fixed words, fields beside them; JSON or console; keys cut down to their prefix."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Final

import structlog

from gateway.core.credentials import redact

if TYPE_CHECKING:
    from collections.abc import MutableMapping

# What clients send may move a terminal's cursor, or pass for a line of its own.
_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_CONTROLS_BUT_LINES: Final = {code: text for code, text in _CONTROLS.items() if chr(code) not in "\n\t"}


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, (list, tuple)):
        return [_redacted(item) for item in value]
    if isinstance(value, dict):
        return {name: _redacted(item) for name, item in value.items()}
    return value


def _redact_fields(_logger: Any, _name: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in fields.items():
        fields[name] = _redacted(value)
    return fields


def _escape_traceback(_logger: Any, _name: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if "exception" in fields:
        fields["exception"] = fields["exception"].translate(_CONTROLS_BUT_LINES)
    return fields


class _Quiet(logging.Filter):
    """Keeps a library's messages and drops their tracebacks, which may hold the bytes of a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.exc_info = None
        record.exc_text = None
        record.msg, record.args = redact(record.getMessage()).translate(_CONTROLS), ()
        return True


def configure_logs(level: str, style: str) -> None:
    """Send all logs to standard error; *style* is `json` or `console`."""
    renderers: list[Any]
    if style == "json":
        renderers = [structlog.processors.JSONRenderer()]
    else:
        console = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, repr_native_str=True
        )
        renderers = [_escape_traceback, console]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact_fields,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    for name in ("aiohttp.server", "aiohttp.web", "aiohttp.access"):
        logging.getLogger(name).addFilter(_Quiet())
