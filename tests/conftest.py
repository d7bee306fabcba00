"""Fixtures that every test may ask for."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tests.backends import backend
from tests.demos import demo, demo_state, new_demo
from tests.proxies import modes
from tests.servers import (
    own_postgres,
    postgres_dsn,
    postgres_server,
    redis_url,
    servers_directory,
    stopped_postgres,
    valkey,
    valkey_server,
)
from tests.serving import gateway, gateway_server, optional_gateway, optional_server, start_gateway

if TYPE_CHECKING:
    import pytest

__all__ = [
    "backend",
    "demo",
    "demo_state",
    "gateway",
    "gateway_server",
    "modes",
    "new_demo",
    "optional_gateway",
    "optional_server",
    "own_postgres",
    "postgres_dsn",
    "postgres_server",
    "redis_url",
    "servers_directory",
    "start_gateway",
    "stopped_postgres",
    "valkey",
    "valkey_server",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The proofs of `make crash` run shortened in `make test`."""
    group = parser.getgroup("proofs", "how much is proven")
    group.addoption("--times", type=int, default=5, help="how often something is killed")
    group.addoption("--seed", type=int, help="what is killed when; printed, so that a run can be repeated")
    group.addoption("--outage-s", type=float, default=4.0, help="how long Postgres is away, in seconds")


# A shell that runs tests in the background has SIGINT ignored, and every process that is started here would inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
