"""nginx's variables: what is made of a request and of a decision, and the reports of how requests ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.render.front import authority
from gateway.render.text import block, comments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.core.snapshot import Snapshot
    from gateway.core.upstreams import UpstreamSettings


def reports(server: str | None) -> Iterator[str]:
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


def variables(snapshot: Snapshot) -> Iterator[str]:
    """Give the variables that the rest of the configuration is written with."""
    yield ""
    yield from comments(
        "Who the client is: the right-most address that is no trusted proxy's, as the gateway reads it."
    )
    trusted = [f"{network} 1;" for network in snapshot.trusted_proxies.texts]
    yield from block("geo $gateway_from_trusted", ["default 0;", *trusted])
    hops = ["0 $remote_addr;", "1 $proxy_add_x_forwarded_for;"]
    yield from block("map $gateway_from_trusted $gateway_forwarded_for", hops)
    yield from comments(
        "The id of a request that was refused before a decision, and the time as the gateway writes it."
    )
    yield from block("map $request_id $gateway_own_id", ['"~^(?<gateway_hex>.{16})" "req_$gateway_hex";'])
    yield from block("map $gateway_decided_id $gateway_id", ['"" $gateway_own_id;', "default $gateway_decided_id;"])
    time = r'"~^(?<gateway_second>.{19}).*\.(?<gateway_ms>\d{3})$" "${gateway_second}.${gateway_ms}Z";'
    yield from block('map "$time_iso8601 $msec" $gateway_time', [time])
    yield from comments("Fields that only refusals have. nginx passes the challenge of a 401 on by itself.")
    yield from block("map $gateway_status $gateway_caching", ['"" "";', "default no-store;"])
    yield from block(
        "map $gateway_status $gateway_challenge", ['"" "";', '401 "";', "default $gateway_told_challenge;"]
    )
    yield from comments("An Authorization that is not ours goes on where the key was not in it.")
    ours = "|".join(snapshot.key_format.prefixes)
    yield from block("map $http_authorization $gateway_foreign", [f'"~{ours}" "";', "default $http_authorization;"])
    passed = "$gateway_foreign" if snapshot.key_format.in_api_key else '""'
    yield from block("map $gateway_key_id $gateway_authorization", ['"" $gateway_foreign;', f"default {passed};"])
    yield from comments("The host that the client asked for, or nothing when its request line and its Host name two.")
    asked = r'"~*^(?<gateway_line>[^|]*)\|(?<gateway_asked>\1(?::[0-9]*)?)$" $gateway_asked;'
    yield from block('map "$host|$http_host" $gateway_asked_host', ['default "";', asked])
    yield from comments("What the upstream sees as Host: its first target, unless preserve_host is on.")
    yield from block(
        "map $gateway_upstream $gateway_host", [_host(upstream) for upstream in snapshot.upstreams.values()]
    )


def _host(upstream: UpstreamSettings) -> str:
    return f"{upstream.name} {'$http_host' if upstream.preserve_host else authority(upstream)};"
