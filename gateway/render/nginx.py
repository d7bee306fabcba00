"""nginx: a complete configuration that asks for each request at `auth_request`, and sends what was decided on.

nginx chooses nothing by the path itself: upstream and target come with the decision, so there is one reading of both.
It drops the bodies of decisions and knows no refusal but 401 and 403; the true status, the body and the fields of a
refusal come in fields of the decision, and are turned back here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.families import MEMBERS
from gateway.core.upstreams import Balance
from gateway.render.front import (
    ANNOUNCED,
    DECISION_ANSWER_S,
    DECISION_CONNECT_S,
    RATE_LIMIT,
    expression,
    largest_body,
    not_carried,
    own_patterns,
    patience,
    place,
    removed_names,
)
from gateway.render.nginx_refusals import error_pages, refusals
from gateway.render.nginx_variables import reports, variables
from gateway.render.text import block, comments, milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.core.snapshot import Snapshot
    from gateway.core.upstreams import Timeouts
    from gateway.render.front import Front, Place

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
    *("X-Request-Id", *RATE_LIMIT),
    *(name for name in MEMBERS if name.startswith("X-Gateway-")),
)
IGNORED: Final = (
    "X-Accel-Redirect X-Accel-Expires X-Accel-Limit-Rate X-Accel-Buffering X-Accel-Charset Expires Cache-Control "
    "Set-Cookie Vary"
)


def nginx_configuration(front: Front) -> str:
    """Give the text of a whole nginx.conf; `listen` of *front* is as its directive has it. Raises NotRenderable."""
    snapshot = front.snapshot
    lines = [
        f"# Written by `gateway render nginx` from the settings of version {snapshot.version}. Do not edit it: change",
        "# gateway.yaml and write it again. Needs nginx 1.21 or later with auth_request, which all packages have.",
        *comments(*not_carried(snapshot, "CORS", "WebSocket")),
        "worker_processes auto;",
        "env TZ=UTC;   # for the timestamps of refusals",
        *block("events", ["worker_connections 4096;"]),
        *block(
            "http",
            [
                "server_tokens off;",
                *reports(front.reports),
                "types { }",
                "keepalive_timeout 75s;",
                "client_header_timeout 10s;",
                "large_client_header_buffers 8 16k;",
                "merge_slashes off;",
                "",
                *_servers(front),
                *variables(snapshot),
                *_server(front),
            ],
        ),
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _servers(front: Front) -> Iterator[str]:
    yield from block(
        "upstream gateway_decisions", [f"server {_server_at(front.decisions)} max_fails=0;", "keepalive 64;"]
    )
    yield from block("upstream gateway_itself", [f"server {_server_at(front.gateway)} max_fails=0;", "keepalive 16;"])
    for upstream in front.snapshot.upstreams.values():
        kept = [f"keepalive {upstream.idle_connections_max};"] if upstream.idle_connections_max else []
        balance = ["least_conn;"] if upstream.balance is Balance.LEAST_CONNECTIONS else []
        servers = [
            f"server {_server_at(place(upstream, target))} weight={target.weight};" for target in upstream.targets
        ]
        yield from block(f"upstream gateway_to_{upstream.name}", [*balance, *servers, *kept])


def _server_at(where: Place) -> str:
    return where.authority if where.path is None else f"unix:{where.path}"


def _server(front: Front) -> list[str]:
    snapshot, endpoint = front.snapshot, front.endpoint
    largest = largest_body(snapshot)
    return block(
        "server",
        [
            f"listen {front.listen};",
            f"client_body_timeout {milliseconds(snapshot.request_limits.body_idle_s)};",
            *comments(
                "The gateway refuses longer bodies by their route where their length is declared; this holds for"
            ),
            *comments("bodies without a declared length, whatever their route."),
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
    yield from comments("What an upstream gets. Members of families that are not spelt out here are refused with 400.")
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
    kept = frozenset(name.lower() for name in added)
    yield from (f'proxy_set_header {name} "";' for name in removed_names(snapshot, kept))


def _answers(snapshot: Snapshot) -> Iterator[str]:
    yield from comments("What a client gets of an upstream's answer: all but what is ours to say, as it comes.")
    ours = (*HIDDEN, *(ANNOUNCED if snapshot.limits_announced else ()))
    yield from (f"proxy_hide_header {name};" for name in ours)
    yield from (f"proxy_ignore_headers {IGNORED};", "proxy_pass_header Server;", "proxy_pass_header Date;")
    yield from ("proxy_redirect off;", "proxy_buffering off;", "proxy_next_upstream error;")
    yield from ("proxy_buffer_size 32k;", "proxy_buffers 4 32k;", "proxy_busy_buffers_size 64k;")


def _own_paths(snapshot: Snapshot) -> Iterator[str]:
    own = own_patterns(snapshot)
    if own:
        yield from ("", *comments("What the gateway answers itself, and decides on itself."))
    for pattern in own:
        yield from block(
            f'location ~ "{expression(pattern, snapshot.strip_prefixes)}"',
            [
                "auth_request off;",
                "proxy_set_header Host $http_host;",
                'proxy_set_header Connection "";',
                "proxy_set_header X-Forwarded-For $gateway_forwarded_for;",
                "proxy_set_header X-Forwarded-Proto $scheme;",
                "proxy_set_header X-Forwarded-Host $gateway_asked_host;",
                'proxy_set_header Forwarded "";',
                'proxy_set_header X-Request-Id "";',
                *comments("One of each of these, so that those above do not hold: the gateway's own fields pass."),
                'add_header X-None "";',
                "proxy_hide_header X-None;",
                "proxy_pass http://gateway_itself$request_uri;",
            ],
        )


def _forwarded(snapshot: Snapshot) -> Iterator[str]:
    """Give a location for each pattern, for the sake of its timeouts; which upstream it is, is decided."""
    destination = "proxy_pass http://gateway_to_$gateway_upstream$gateway_target;"
    yield ""
    if len({route.timeouts for route in snapshot.routes.routes if route.upstream is not None}) > 1:
        seen: set[str] = set()
        for route in snapshot.routes.routes:
            text = expression(route.pattern, snapshot.strip_prefixes)
            if route.upstream is not None and text not in seen:
                seen.add(text)
                yield from block(f'location ~ "{text}"', [*_patience(route.timeouts), destination])
    yield from block("location /", [*_patience(patience(snapshot)), destination])


def _patience(timeouts: Timeouts) -> Iterator[str]:
    """Give the timeouts; nginx has none for a whole exchange."""
    yield f"proxy_connect_timeout {milliseconds(timeouts.connect_s)};"
    yield f"proxy_send_timeout {milliseconds(timeouts.idle_s)};"
    yield f"proxy_read_timeout {milliseconds(max(timeouts.first_byte_s, timeouts.idle_s))};"


def _decision(endpoint: str) -> list[str]:
    return [
        "",
        *comments("The decision. The client's fields go along, for the key is in one of them; its body does not."),
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
                f"proxy_connect_timeout {milliseconds(DECISION_CONNECT_S)};",
                f"proxy_read_timeout {milliseconds(DECISION_ANSWER_S)};",
                f"proxy_pass http://gateway_decisions{endpoint}/nginx;",
            ],
        ),
    ]
