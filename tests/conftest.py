"""Fixtures that every test may ask for."""

from __future__ import annotations

from tests.backends import backend
from tests.demos import demo, demo_state, new_demo
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
from tests.serving import gateway, gateway_server, start_gateway

__all__ = [
    "backend",
    "demo",
    "demo_state",
    "gateway",
    "gateway_server",
    "new_demo",
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
