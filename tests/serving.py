"""Gateways that serve while a test runs, on a real Postgres and Valkey.

`gateway` is one for a whole pytest process: a test has it to itself, with new keys and fresh addresses. A test that
stops or kills what belongs to it asks for `start_gateway`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.backends import Backend
from tests.gateway_settings import settings
from tests.gateways import Gateway, run
from tests.servers import make_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.embedded.postgres import EmbeddedPostgres
    from gateway.embedded.valkey import EmbeddedValkey

LIMITED_MAX = 3
"""How often a key may read products a minute where every option is on."""


@contextlib.contextmanager
def serving(
    directory: Path,
    dsn: str,
    redis_url: str,
    address: str = "127.0.0.1",
    change: Callable[[dict[str, Any]], None] | None = None,
    descriptors: int | None = None,
    *,
    forked: bool = True,
    **more: Any,
) -> Iterator[Gateway]:
    """Run a gateway with *more* settings, which *change* edits, while the block runs, and expect it to end in order."""
    backend = Backend()
    document = settings(backend.url) | more
    if change is not None:
        change(document)
    gateway = Gateway(directory, dsn, redis_url, backend, document, address, descriptors)
    gateway.forked &= forked
    try:
        gateway.start()
        yield gateway
        assert gateway.end() == 0
        gateway.check_log()
    finally:
        gateway.kill()
        backend.close()


@pytest.fixture(scope="session")
def gateway_server(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey
) -> Iterator[Gateway]:
    """The gateway of this pytest process, started as users start it; a test wants `gateway` instead."""
    dsn = run(make_database(postgres_server, "of_the_gateway"))
    with serving(tmp_path_factory.mktemp("gateway"), dsn, valkey_server.url, forked=False) as gateway:
        yield gateway


def _with_every_option(document: dict[str, Any]) -> None:
    """Turn on what is off by default and changes what goes over the wire; nothing is removed but what has to be."""
    document["keys"]["x_api_key"] = True
    document["limits"]["ratelimit_fields"] = True
    document["headers"] = {"removed": []}
    document["trusted_proxies"] = ["127.99.0.0/16"]
    # One at a time, so that events come in order.
    document["webhooks"] = {"allow_private": True, "attempts_max": 3, "retry_first_s": 0.05, "per_destination_max": 1}
    document["sidecar"] = {"socket": "${GATEWAY_STATE}/decisions.sock", "socket_trusted": True}
    document["upstreams"]["budgets"]["signed_identity"] = True
    for route in document["routes"]:
        if route["name"] == "products.read":
            route["limits"] = [{"requests": LIMITED_MAX, "per": "minute"}]


@pytest.fixture(scope="session")
def optional_server(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey
) -> Iterator[Gateway]:
    """The gateway of this pytest process that has every option on; a test wants `optional_gateway` instead."""
    dsn = run(make_database(postgres_server, "of_the_optional_gateway"))
    directory = tmp_path_factory.mktemp("optional_gateway")
    with serving(directory, dsn, valkey_server.url, change=_with_every_option) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def complete_gateway_server(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey
) -> Iterator[Gateway]:
    """Another one, without the fast tier."""
    dsn = run(make_database(postgres_server, "of_the_complete_gateway"))
    listen = settings("")["listen"] | {"fast_path": False}
    with serving(tmp_path_factory.mktemp("complete"), dsn, valkey_server.url, listen=listen) as gateway:
        yield gateway


@pytest.fixture
def tier() -> str:
    """Which tier serves plain requests: fast or complete. Tests of both are parametrized with this."""
    return "fast"


@pytest.fixture
def gateway(request: pytest.FixtureRequest, tier: str) -> Iterator[Gateway]:
    """A gateway that serves; whatever the test did, it serves afterwards, and has not logged a bug or a key."""
    yield from _as_it_was(request.getfixturevalue("gateway_server" if tier == "fast" else "complete_gateway_server"))


@pytest.fixture
def optional_gateway(optional_server: Gateway) -> Iterator[Gateway]:
    """The same, with every option on."""
    yield from _as_it_was(optional_server)


def _as_it_was(gateway: Gateway) -> Iterator[Gateway]:
    logged, workers = len(gateway.output), gateway.workers
    gateway.backend.forget()
    yield gateway
    assert not gateway.backend.failures
    assert gateway.workers == workers
    gateway.check_log(since=logged)


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Start a gateway of the test's own: `start_gateway(dsn, redis_url, change)`, where *change* edits its settings."""
    started: list[Gateway] = []

    def start(
        dsn: str,
        redis_url: str,
        change: Callable[[dict[str, Any]], None] | None = None,
        *arguments: str,
        wait: bool = True,
    ) -> Gateway:
        backend = Backend()
        document = settings(backend.url)
        if change is not None:
            change(document)
        directory = tmp_path / f"gateway-{len(started)}"
        directory.mkdir()
        gateway = Gateway(directory, dsn, redis_url, backend, document)
        started.append(gateway)
        if wait:
            gateway.start(*arguments)
        else:
            gateway.begin(*arguments)
        return gateway

    yield start
    for gateway in started:
        gateway.kill()
        gateway.backend.close()
        gateway.check_log()
