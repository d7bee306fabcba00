"""Fixtures that every test may ask for."""

from __future__ import annotations

import os
import signal

import hypothesis
import pytest

from tests.backends import backend
from tests.demos import new_demo
from tests.nginx import nginx
from tests.proxies import modes, proxy
from tests.servers import (
    administration,
    own_postgres,
    postgres_dsn,
    postgres_server,
    redis_url,
    servers_directory,
    stopped_postgres,
    valkey,
    valkey_server,
)
from tests.serving import (
    complete_gateway_server,
    gateway,
    gateway_server,
    optional_gateway,
    optional_server,
    start_gateway,
    tier,
)

__all__ = [
    "administration",
    "backend",
    "complete_gateway_server",
    "gateway",
    "gateway_server",
    "modes",
    "new_demo",
    "nginx",
    "optional_gateway",
    "optional_server",
    "own_postgres",
    "postgres_dsn",
    "postgres_server",
    "proxy",
    "redis_url",
    "servers_directory",
    "start_gateway",
    "stopped_postgres",
    "tier",
    "valkey",
    "valkey_server",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The proofs of `make crash`, `make fuzz` and others run shortened in `make test`."""
    group = parser.getgroup("proofs", "how much is proven")
    group.addoption("--times", type=int, default=5, help="how often something is killed")
    group.addoption("--seed", type=int, help="what is killed when; printed, so that a run can be repeated")
    group.addoption("--reloads", type=int, default=10, help="how often the settings change")
    group.addoption("--restarts", type=int, default=2, help="how often all workers are replaced")
    group.addoption("--cases", type=int, default=10_000, help="how many requests are made up")
    group.addoption("--fault-s", type=float, default=2.0, help="how long an upstream stalls or drops connections")
    group.addoption("--events", type=int, default=60, help="how many webhook events are told while things break")
    group.addoption("--outage-s", type=float, default=4.0, help="how long Postgres is away, in seconds")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes seconds: at the end it would leave all cores but one without work.

    What needs every proxy stays together, so that they are started for one process or two, and not for all.
    """
    items.sort(
        key=lambda item: (item.get_closest_marker("slow") is None, "modes" not in getattr(item, "fixturenames", ()))
    )


# How fast the machine is, or how busy, is nothing that a property is about.
hypothesis.settings.register_profile(
    "tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("tests")

# Nothing here is signed by an authority that the system trusts, and to read them all takes every process 100 ms.
os.environ["SSL_CERT_FILE"] = os.devnull

# A shell that runs tests in the background has SIGINT ignored, and every process that is started here would inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
