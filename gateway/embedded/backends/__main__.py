"""python -m gateway.embedded.backends NAME --port N --dsn DSN: one demo backend as a process."""

from __future__ import annotations

import argparse
import logging
import sys

import structlog
from aiohttp import web

from gateway.embedded.backends.application import BACKENDS, application

_DRAIN_S = 0.4


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM or SIGINT, then end within a second."""
    parser = argparse.ArgumentParser(prog="python -m gateway.embedded.backends", description=__doc__)
    parser.add_argument("name", choices=sorted(BACKENDS))
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, required=True, help="port to listen on")
    parser.add_argument("--dsn", required=True, help="Postgres, as postgresql://user:password@host:port/database")
    options = parser.parse_args(arguments)
    _log_to_stderr(options.name)
    web.run_app(
        application(options.name, options.dsn),
        host=options.host,
        port=options.port,
        print=None,
        access_log=None,
        shutdown_timeout=_DRAIN_S,
        auto_decompress=False,
    )


def _log_to_stderr(name: str) -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            lambda _logger, _method, event: {"backend": name, **event},
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
