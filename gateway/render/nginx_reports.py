"""What nginx reports of the requests that it carried: a line of JSON for each that was admitted, over syslog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.render.text import block, comments

if TYPE_CHECKING:
    from collections.abc import Iterator


def reporting(server: str | None) -> Iterator[str]:
    """Tell the gateway how each request ended that it decided on and that was admitted."""
    if server is None:
        yield "access_log off;   # the gateway records every decision as a usage event"
        return
    yield from comments("The gateway records every decision as a usage event; these lines tell it how requests ended.")
    yield from block("map $content_length $gateway_bytes_in", ['"~^[0-9]{1,15}$" $content_length;', "default null;"])
    times = ['"~(?<gateway_last_time>[0-9.]+)$" $gateway_last_time;', "default null;"]
    yield from block("map $upstream_header_time $gateway_upstream_time", times)
    yield "log_format gateway_outcome escape=json"
    yield """    '{"id":"$gateway_event_id","status":$status,"seconds":$request_time,"bytesIn":$gateway_bytes_in,'"""
    yield """    '"bytesOut":$body_bytes_sent,"upstreamSeconds":$gateway_upstream_time}';"""
    yield f"access_log syslog:server={server},nohostname,tag=gateway gateway_outcome if=$gateway_event_id;"
