"""Envoy's words: typed configurations, times, addresses."""

from __future__ import annotations

from typing import Any, Final

from gateway.core.upstreams import UNBOUNDED

FILTERS: Final = "filters"


def typed(kind: str, /, **fields: Any) -> dict[str, Any]:
    """Give a configuration of the *kind* that is called so below `envoy.extensions`."""
    return {"@type": f"type.googleapis.com/envoy.extensions.{kind}", **fields}


def seconds(value: float) -> str:
    """Give a time; none at all is 0s."""
    return "0s" if value == UNBOUNDED else f"{round(value, 3):g}s"


def place(host: str, port: int, path: str | None = None) -> dict[str, Any]:
    """Give an address of TCP, or the *path* of a Unix socket."""
    return {"pipe": {"path": path}} if path else {"socket_address": {"address": host, "port_value": port}}
