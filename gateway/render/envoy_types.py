"""Envoy's words: typed configurations, times, addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.core.upstreams import UNBOUNDED

if TYPE_CHECKING:
    from gateway.render.front import Place

FILTERS: Final = "filters"


def typed(kind: str, /, **fields: Any) -> dict[str, Any]:
    """Give a configuration of the *kind* that is called so below `envoy.extensions`."""
    return {"@type": f"type.googleapis.com/envoy.extensions.{kind}", **fields}


def seconds(value: float) -> str:
    """Give a time; none at all is 0s."""
    return "0s" if value == UNBOUNDED else f"{round(value, 3):g}s"


def address(place: Place) -> dict[str, Any]:
    """Give an address of TCP, or of a Unix socket."""
    if place.path is not None:
        return {"pipe": {"path": place.path}}
    return {"socket_address": {"address": place.host, "port_value": place.port}}
