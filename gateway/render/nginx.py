"""nginx: a complete configuration that asks for each request at `auth_request`, and sends what was decided on.

nginx chooses nothing by the path itself: upstream and target come with the decision, so there is one reading of both.
It drops the bodies of decisions and knows no refusal but 401 and 403; the true status, the body and the fields of a
refusal come in fields of the decision, and are turned back here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.families import MEMBERS
from gateway.core.headers import ALWAYS_REMOVED, HOP_BY_HOP
from gateway.core.upstreams import Balance
from gateway.render.nginx_refusals import error_pages, refusals
from gateway.render.nginx_text import block, comment, duration, pattern, server_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.core.snapshot import Snapshot
    from gateway.core.upstreams import Timeouts, UpstreamSettings, UpstreamTarget

TOLD: Final = {
    "status": "x_gateway_status",
    "error": "x_gateway_error_body",
    "decided_id": "x_request_id",
    "event_id": "x_gateway_event_id",
    "upstream": "x_gateway_upstream",
    "target": "x_gateway_target",
    "key_id": "x_gateway_key_id",
    "account_id": "x_gateway_account_id",
    "scopes": "x_gateway_scopes",
    "identity": "x_gateway_identity",
    "limit": "x_ratelimit_limit",
    "remaining": "x_ratelimit_remaining",
    "reset": "x_ratelimit_reset",
    "window": "x_ratelimit_window",
    "ratelimit": "ratelimit",
    "ratelimit_policy": "ratelimit_policy",
    "retry_after": "retry_after",
    "allow": "allow",
    "told_challenge": "www_authenticate",
}
"""Our variables, and the fields of a decision that they are."""
HIDDEN: Final = (
    *("X-Request-Id", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-RateLimit-Window"),
    *(name for name in MEMBERS if name.startswith("X-Gateway-")),
)
IGNORED: Final = (
    "X-Accel-Redirect X-Accel-Expires X-Accel-Limit-Rate X-Accel-Buffering X-Accel-Charset Expires Cache-Control "
    "Set-Cookie Vary"
)


class NotRenderable(ValueError):
    """Something that nginx cannot be told; the message says what."""


def nginx_configuration(
    snapshot: Snapshot, *, listen: str, decisions: str, endpoint: str, gateway: str, reports: str | None = None
) -> str:
    """Give the text of a whole nginx.conf that listens on *listen*.

    *decisions* is the server where the sidecar answers below the path *endpoint*, *gateway* that of the public
    listener, which answers login and key management itself, *reports* where it takes reports over syslog; all as nginx
    writes servers. Raises NotRenderable.
    """
    lines = [
        f"# Written by `gateway render nginx` from the settings of version {snapshot.version}. Do not edit it: change",
        "# gateway.yaml and write it again. Needs nginx 1.21 or later with auth_request, which all packages have.",
        *_not_carried(snapshot),
        "worker_processes auto;",
        "env TZ=UTC;   # for the timestamps of refusals",
        *block("events", ["worker_connections 4096;"]),
        *block(
            "http",
            [
                "server_tokens off;",
                *_reports(reports),
                "types { }",
                "keepalive_timeout 75s;",
                "client_header_timeout 10s;",
                "large_client_header_buffers 8 16k;",
                "merge_slashes off;",
                "",
                *_servers(snapshot, decisions, gateway),
                *_variables(snapshot),
                *_server(snapshot, listen, endpoint),
            ],
        ),
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _not_carried(snapshot: Snapshot) -> Iterator[str]:
    """Warn of what routes have and nginx does not do for them."""
    routes = snapshot.routes.routes
    cors = [route.name for route in routes if route.cors is not None and route.upstream is not None]
    tunnels = [route.name for route in routes if route.websocket_idle_s is not None]
    for what, names in (("CORS", cors), ("WebSocket", tunnels)):
        if names:
            yield from comment(f"NOT CARRIED: {what}, which these routes have: {', '.join(names)}.")


def _reports(server: str | None) -> Iterator[str]:
    """Tell the gateway how each request ended that it decided on and that was admitted."""
    if server is None:
        yield "access_log off;   # the gateway records every decision as a usage event"
        return
    yield from comment("The gateway records every decision as a usage event; these lines tell it how requests ended.")
    yield from block("map $content_length $gateway_bytes_in", ['"~^[0-9]{1,15}$" $content_length;', "default null;"])
    times = ['"~(?<gateway_last_time>[0-9.]+)$" $gateway_last_time;', "default null;"]
    yield from block("map $upstream_header_time $gateway_upstream_time", times)
    yield "log_format gateway_outcome escape=json"
    yield """    '{"id":"$gateway_event_id","status":$status,"seconds":$request_time,"bytesIn":$gateway_bytes_in,'"""
    yield """    '"bytesOut":$body_bytes_sent,"upstreamSeconds":$gateway_upstream_time}';"""
    yield f"access_log syslog:server={server},nohostname,tag=gateway gateway_outcome if=$gateway_event_id;"


def _servers(snapshot: Snapshot, decisions: str, gateway: str) -> Iterator[str]:
    yield from block("upstream gateway_decisions", [f"server {decisions} max_fails=0;", "keepalive 64;"])
    yield from block("upstream gateway_itself", [f"server {gateway} max_fails=0;", "keepalive 16;"])
    for upstream in snapshot.upstreams.values():
        kept = [f"keepalive {upstream.idle_connections_max};"] if upstream.idle_connections_max else []
        balance = ["least_conn;"] if upstream.balance is Balance.LEAST_CONNECTIONS else []
        servers = [f"server {_place(upstream, target)} weight={target.weight};" for target in upstream.targets]
        yield from block(f"upstream gateway_to_{upstream.name}", [*balance, *servers, *kept])


def _place(upstream: UpstreamSettings, target: UpstreamTarget) -> str:
    if target.tls:
        message = f"upstream {upstream.name} has a target that speaks TLS, which cannot be rendered for nginx yet"
        raise NotRenderable(message)
    return server_address(target.host, target.port) if target.path is None else f"unix:{target.path}"


def _variables(snapshot: Snapshot) -> Iterator[str]:
    yield ""
    yield from comment("Who the client is: the right-most address that is no trusted proxy's, as the gateway reads it.")
    trusted = [f"{network} 1;" for network in snapshot.trusted_proxies.texts]
    yield from block("geo $gateway_from_trusted", ["default 0;", *trusted])
    hops = ["0 $remote_addr;", "1 $proxy_add_x_forwarded_for;"]
    yield from block("map $gateway_from_trusted $gateway_forwarded_for", hops)
    yield from comment("The id of a request that was refused before a decision, and the time as the gateway writes it.")
    yield from block("map $request_id $gateway_own_id", ['"~^(?<gateway_hex>.{16})" "req_$gateway_hex";'])
    yield from block("map $gateway_decided_id $gateway_id", ['"" $gateway_own_id;', "default $gateway_decided_id;"])
    time = r'"~^(?<gateway_second>.{19}).*\.(?<gateway_ms>\d{3})$" "${gateway_second}.${gateway_ms}Z";'
    yield from block('map "$time_iso8601 $msec" $gateway_time', [time])
    yield from comment("Fields that only refusals have. nginx passes the challenge of a 401 on by itself.")
    yield from block("map $gateway_status $gateway_caching", ['"" "";', "default no-store;"])
    yield from block(
        "map $gateway_status $gateway_challenge", ['"" "";', '401 "";', "default $gateway_told_challenge;"]
    )
    yield from comment("An Authorization that is not ours goes on where the key was not in it.")
    ours = "|".join(snapshot.key_format.prefixes)
    yield from block("map $http_authorization $gateway_foreign", [f'"~{ours}" "";', "default $http_authorization;"])
    passed = "$gateway_foreign" if snapshot.key_format.in_api_key else '""'
    yield from block("map $gateway_key_id $gateway_authorization", ['"" $gateway_foreign;', f"default {passed};"])
    yield from comment("The host that the client asked for, or nothing when its request line and its Host name two.")
    asked = r'"~*^(?<gateway_line>[^|]*)\|(?<gateway_asked>\1(?::[0-9]*)?)$" $gateway_asked;'
    yield from block('map "$host|$http_host" $gateway_asked_host', ['default "";', asked])
    yield from comment("What the upstream sees as Host: its first target, unless preserve_host is on.")
    yield from block(
        "map $gateway_upstream $gateway_host", [_host(upstream) for upstream in snapshot.upstreams.values()]
    )


def _host(upstream: UpstreamSettings) -> str:
    return f"{upstream.name} {'$http_host' if upstream.preserve_host else upstream.targets[0].authority};"


def _server(snapshot: Snapshot, listen: str, endpoint: str) -> list[str]:
    largest = max((route.body_max_bytes for route in snapshot.routes.routes if route.upstream), default=0)
    return block(
        "server",
        [
            f"listen {listen};",
            f"client_body_timeout {duration(snapshot.request_limits.body_idle_s)};",
            *comment("The gateway refuses longer bodies by their route where their length is declared; this holds for"),
            *comment("bodies without a declared length, whatever their route."),
            f"client_max_body_size {largest};",
            "",
            f"auth_request {endpoint};",
            *(f"auth_request_set $gateway_{name} $upstream_http_{field};" for name, field in TOLD.items()),
            *error_pages(),
            "",
            *(f"add_header {name} ${value} always;" for name, value in _answer_fields(snapshot)),
            "",
            *_requests(snapshot),
            *_answers(snapshot),
            *_own_paths(snapshot),
            *_forwarded(snapshot),
            *_decision(endpoint),
            *refusals(largest),
        ],
    )


def _answer_fields(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """Give the fields that answers get; nginx leaves out those without a value."""
    yield from (("X-Request-Id", "gateway_id"), ("Cache-Control", "gateway_caching"))
    yield from (("WWW-Authenticate", "gateway_challenge"), ("Allow", "gateway_allow"))
    yield from (("Retry-After", "gateway_retry_after"), ("X-RateLimit-Limit", "gateway_limit"))
    yield from (("X-RateLimit-Remaining", "gateway_remaining"), ("X-RateLimit-Reset", "gateway_reset"))
    yield ("X-RateLimit-Window", "gateway_window")
    if snapshot.limits_announced:
        yield from (("RateLimit-Policy", "gateway_ratelimit_policy"), ("RateLimit", "gateway_ratelimit"))


def _requests(snapshot: Snapshot) -> Iterator[str]:
    yield from comment("What an upstream gets. Members of families that are not spelt out here are refused with 400.")
    yield "proxy_http_version 1.1;"
    yield "proxy_request_buffering off;"
    added = {
        "Host": "$gateway_host",
        "Authorization": "$gateway_authorization",
        "X-Request-Id": "$gateway_id",
        "X-Forwarded-For": "$gateway_forwarded_for",
        "X-Forwarded-Proto": "$scheme",
        "X-Forwarded-Host": "$gateway_asked_host",
        "Via": '"1.1 gateway"',
        "X-Gateway-Key-Id": "$gateway_key_id",
        "X-Gateway-Account-Id": "$gateway_account_id",
        "X-Gateway-Scopes": "$gateway_scopes",
        "X-Gateway-Identity": "$gateway_identity",
    }
    yield from (f"proxy_set_header {name} {value};" for name, value in added.items())
    kept = {"content-length", "transfer-encoding", "traceparent", *(name.lower() for name in added)}
    configured = (name for name in snapshot.removed_headers if not name.endswith("*"))
    removed = {name.lower() for name in (*HOP_BY_HOP, *ALWAYS_REMOVED, *MEMBERS, *configured)} - kept
    yield from (f'proxy_set_header {name} "";' for name in sorted(removed))


def _answers(snapshot: Snapshot) -> Iterator[str]:
    yield from comment("What a client gets of an upstream's answer: all but what is ours to say, as it comes.")
    ours = (*HIDDEN, *(("RateLimit", "RateLimit-Policy") if snapshot.limits_announced else ()))
    yield from (f"proxy_hide_header {name};" for name in ours)
    yield from (f"proxy_ignore_headers {IGNORED};", "proxy_pass_header Server;", "proxy_pass_header Date;")
    yield from ("proxy_redirect off;", "proxy_buffering off;", "proxy_next_upstream error;")
    yield from ("proxy_buffer_size 32k;", "proxy_buffers 4 32k;", "proxy_busy_buffers_size 64k;")


def _own_paths(snapshot: Snapshot) -> Iterator[str]:
    own = [route for route in snapshot.routes.routes if route.upstream is None]
    if own:
        yield from ("", *comment("What the gateway answers itself, and decides on itself."))
    for text in dict.fromkeys(pattern(route.pattern, snapshot.strip_prefixes) for route in own):
        yield from block(
            f"location ~ {text}",
            [
                "auth_request off;",
                "proxy_set_header Host $http_host;",
                'proxy_set_header Connection "";',
                "proxy_set_header X-Forwarded-For $gateway_forwarded_for;",
                "proxy_set_header X-Forwarded-Proto $scheme;",
                "proxy_set_header X-Forwarded-Host $gateway_asked_host;",
                'proxy_set_header Forwarded "";',
                'proxy_set_header X-Request-Id "";',
                *comment("One of each of these, so that those above do not hold: the gateway's own fields pass."),
                'add_header X-None "";',
                "proxy_hide_header X-None;",
                "proxy_pass http://gateway_itself$request_uri;",
            ],
        )


def _forwarded(snapshot: Snapshot) -> Iterator[str]:
    """Give a location for each pattern, for the sake of its timeouts; which upstream it is, is decided."""
    destination = "proxy_pass http://gateway_to_$gateway_upstream$gateway_target;"
    yield ""
    timeouts = {route.timeouts for route in snapshot.routes.routes if route.upstream is not None}
    if len(timeouts) > 1:
        seen: set[str] = set()
        for route in snapshot.routes.routes:
            text = pattern(route.pattern, snapshot.strip_prefixes)
            if route.upstream is not None and text not in seen:
                seen.add(text)
                yield from block(f"location ~ {text}", [*_patience([route.timeouts]), destination])
    yield from block("location /", [*_patience(timeouts), destination])


def _patience(timeouts: Iterable[Timeouts]) -> Iterator[str]:
    """Give the timeouts, the longest of several; nginx has none for a whole exchange."""
    known = list(timeouts)
    yield f"proxy_connect_timeout {duration(max((one.connect_s for one in known), default=1))};"
    yield f"proxy_send_timeout {duration(max((one.idle_s for one in known), default=30))};"
    yield f"proxy_read_timeout {duration(max((max(one.first_byte_s, one.idle_s) for one in known), default=30))};"


def _decision(endpoint: str) -> list[str]:
    return [
        "",
        *comment("The decision. The client's fields go along, for the key is in one of them; its body does not."),
        *block(
            f"location = {endpoint}",
            [
                "internal;",
                "auth_request off;",
                "proxy_pass_request_body off;",
                "proxy_set_header Host gateway;",
                'proxy_set_header Connection "";',
                'proxy_set_header Content-Length "";',
                'proxy_set_header X-Request-Id "";',
                'proxy_set_header Forwarded "";',
                "proxy_set_header X-Original-Method $request_method;",
                "proxy_set_header X-Original-URI $request_uri;",
                "proxy_set_header X-Original-Content-Length $content_length;",
                "proxy_set_header X-Forwarded-For $gateway_forwarded_for;",
                "proxy_connect_timeout 1s;",
                "proxy_read_timeout 5s;",
                f"proxy_pass http://gateway_decisions{endpoint}/nginx;",
            ],
        ),
    ]
