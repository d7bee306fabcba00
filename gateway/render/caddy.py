"""Caddy: a complete Caddyfile that asks for each request as `forward_auth` does, and sends what was decided on.

Caddy chooses nothing by the path: the upstream comes with the decision, and the path that Caddy would send is compared
with the one that was decided on, for its `rewrite` would write escapes anew. Refusals pass as they are.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final

from gateway.core import decision as d
from gateway.core.denials import refuse
from gateway.core.upstreams import Balance
from gateway.render.front import (
    ANNOUNCED,
    DECISION_ANSWER_S,
    DECISION_CONNECT_S,
    IDENTITY,
    RATE_LIMIT,
    authority,
    error_body,
    expression,
    largest_body,
    not_carried,
    own_patterns,
    patience,
    place,
    removed_names,
)
from gateway.render.text import block, comments, milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.core.denials import Refusal
    from gateway.core.snapshot import Snapshot
    from gateway.core.upstreams import UpstreamSettings
    from gateway.render.front import Front, Place

_ID: Final = "{vars.gateway_id}"
_UPSTREAM: Final = "{vars.gateway_upstream}"
_NOW: Final = '{{(now).UTC.Format "2006-01-02T15:04:05.000Z"}}'
_KEPT: Final = frozenset({"host", "authorization", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"})
"""What Caddy writes anew, or what is taken out only where it is ours."""


_block: Final = partial(block, indent="\t")
"""As `caddy fmt` has it."""


def caddy_configuration(front: Front) -> str:
    """Give the text of a whole Caddyfile; `listen` of *front* is a site's address. Raises NotRenderable."""
    snapshot = front.snapshot
    lines = [
        *comments(f"Written by `gateway render caddy` from the settings of version {snapshot.version}. Change"),
        *comments("gateway.yaml and write it again. Needs Caddy 2.8 or later."),
        *comments(*not_carried(snapshot, "CORS", "WebSocket")),
        "",
        *_block("", _options(snapshot)),
        "",
        *_block(front.listen, _site(front)),
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _options(snapshot: Snapshot) -> Iterator[str]:
    trusted = snapshot.trusted_proxies.texts
    believed = [f"trusted_proxies static {' '.join(trusted)}", "trusted_proxies_strict"] if trusted else []
    timeouts = _block("timeouts", ["read_header 10s", "idle 75s"])
    yield from _block("servers", ["protocols h1 h2", "max_header_size 32768", *believed, *timeouts])


def _site(front: Front) -> Iterator[str]:
    snapshot = front.snapshot
    yield from comments("The id of a request that is refused before a decision.")
    yield from _block("map {http.request.uuid} {gateway_own_id}", ["~^(.{8})-(.{4})-(.{4}) req_${1}${2}${3}"])
    yield "vars gateway_id {gateway_own_id}"
    yield from comments("The gateway refuses longer bodies by their route, where their length is declared; this holds")
    yield from comments("for bodies without a declared length, whatever their route.")
    yield from _block("request_body", [f"max_size {largest_body(snapshot)}"])
    own = [expression(pattern, snapshot.strip_prefixes) for pattern in own_patterns(snapshot)]
    yield ""
    yield from comments("What the gateway answers itself, and decides on itself.")
    yield f"@itself path_regexp {'|'.join(own)}"
    yield from _block("handle @itself", _itself(front.gateway))
    yield ""
    yield from comments("The decision. The client's fields go along, for the key is in one of them; its body does not.")
    yield from _block("handle", _block(f"reverse_proxy {_dial(front.decisions)}", _decision(front)))
    yield ""
    yield from _block("handle_errors", _block("route", _refusals(snapshot)))


def _itself(gateway: Place) -> list[str]:
    return _block(
        f"reverse_proxy {_dial(gateway)}",
        [
            "header_up Host {host}",
            "header_up -Forwarded",
            "header_up -X-Request-Id",
            *_transport(DECISION_CONNECT_S, 60.0, None),
        ],
    )


def _decision(front: Front) -> Iterator[str]:
    yield "method GET"
    yield f"rewrite {front.endpoint}/forward?"
    yield "header_up Host gateway"
    yield "header_up X-Forwarded-Method {http.request.orig_method}"
    yield "header_up X-Forwarded-Uri {http.request.orig_uri}"
    yield "header_up X-Original-Content-Length {http.request.header.Content-Length}"
    yield from ("header_up -Forwarded", "header_up -X-Request-Id", "header_down -Server")
    yield from _transport(DECISION_CONNECT_S, DECISION_ANSWER_S, None)
    yield ""
    yield "@admitted status 200"
    yield from _block("handle_response @admitted", _block("route", _forwarded(front.snapshot)))


def _forwarded(snapshot: Snapshot) -> Iterator[str]:
    yield f"vars gateway_id {_told('X-Request-Id')}"
    yield f"vars gateway_upstream {_told('X-Gateway-Upstream')}"
    yield from _answer_fields(snapshot)
    yield ""
    yield from _request_fields(snapshot)
    yield ""
    for number, prefix in enumerate(snapshot.strip_prefixes):
        yield f"@prefixed{number} vars_regexp {{http.request.orig_uri.path}} ^{re.escape(prefix)}/"
        yield f"uri @prefixed{number} strip_prefix {prefix}"
    yield from comments("What was decided on is what is sent, or nothing is.")
    yield f"@same vars {{uri}} {_told('X-Gateway-Target')}"
    yield from _block("handle @same", _destinations(snapshot))
    yield from _block("handle", ["error 500"])


def _destinations(snapshot: Snapshot) -> Iterator[str]:
    for upstream in snapshot.upstreams.values():
        yield f"@{upstream.name} vars {_UPSTREAM} {upstream.name}"
        yield from _block(f"handle @{upstream.name}", _upstream(snapshot, upstream))
    yield from _block("handle", ["error 500"])


def _answer_fields(snapshot: Snapshot) -> Iterator[str]:
    """Give the fields that answers get, whoever gives them."""
    yield from comments("What a client gets beside an upstream's answer.")
    yield f"header X-Request-Id {_ID}"
    announced = ANNOUNCED if snapshot.limits_announced else ()
    yield f'@limited not vars {_told(RATE_LIMIT[0])} ""'
    yield from _block("header @limited", (f"{name} {_told(name)}" for name in (*RATE_LIMIT, *announced)))


def _request_fields(snapshot: Snapshot) -> Iterator[str]:
    """Take away what a request may not bring, and say who asks."""
    yield from comments("What an upstream gets. Names with _ or . do not pass: some backends read them as -.")
    families = {"x-gateway-*", *(name.lower() for name in snapshot.removed_headers if name.endswith("*"))}
    if "x-forwarded-*" in families and snapshot.trusted_proxies.texts:
        families.remove("x-forwarded-*")
        yield f"@stranger not remote_ip {' '.join(snapshot.trusted_proxies.texts)}"
        yield "request_header @stranger -x-forwarded-*"
    plain = removed_names(snapshot, _KEPT, frozenset(families))
    yield from (f"request_header -{name}" for name in ("*_*", "*.*", *sorted(families), *plain))
    yield from comments("An Authorization that is not ours goes on where the key was not in it.")
    ours = "|".join(snapshot.key_format.prefixes)
    yield f"@ours header_regexp Authorization {ours}"
    yield "request_header @ours -Authorization"
    yield f'@keyed not vars {_told(IDENTITY[0])} ""'
    if not snapshot.key_format.in_api_key:
        yield "request_header @keyed -Authorization"
    yield f"request_header X-Request-Id {_ID}"
    yield from (f"request_header @keyed {name} {_told(name)}" for name in IDENTITY[:3])
    yield f'@signed not vars {_told(IDENTITY[3])} ""'
    yield f"request_header @signed {IDENTITY[3]} {_told(IDENTITY[3])}"


def _upstream(snapshot: Snapshot, upstream: UpstreamSettings) -> list[str]:
    timeouts = patience(snapshot, upstream.name)
    targets = " ".join(_dial(place(upstream, target)) for target in upstream.targets)
    ours = ("X-Request-Id", "X-RateLimit-*", "X-Gateway-*", *(ANNOUNCED if snapshot.limits_announced else ()))
    return _block(
        f"reverse_proxy {targets}",
        [
            *_balance(upstream),
            f"header_up Host {'{host}' if upstream.preserve_host else authority(upstream)}",
            'header_up Via "1.1 gateway"',
            *(f"header_down -{name}" for name in (*ours, "Via")),
            "flush_interval -1",
            *_transport(timeouts.connect_s, timeouts.first_byte_s, timeouts.idle_s, upstream.idle_connections_max),
        ],
    )


def _balance(upstream: UpstreamSettings) -> Iterator[str]:
    weights = [target.weight for target in upstream.targets]
    if len(weights) == 1:
        return
    if upstream.balance is Balance.LEAST_CONNECTIONS:
        yield "lb_policy least_conn"
    else:
        yield f"lb_policy weighted_round_robin {' '.join(map(str, weights))}"
    yield "lb_retries 1"


def _transport(connect_s: float, first_byte_s: float, idle_s: float | None, kept: int = 64) -> list[str]:
    between = [] if idle_s is None else [f"read_timeout {milliseconds(max(first_byte_s, idle_s))}"]
    return _block(
        "transport http",
        [
            f"dial_timeout {milliseconds(connect_s)}",
            f"response_header_timeout {milliseconds(first_byte_s)}",
            *between,
            *([f"keepalive_idle_conns_per_host {kept}"] if kept else ["keepalive off"]),
            "compression off",
        ],
    )


def _refusals(snapshot: Snapshot) -> Iterator[str]:
    yield from comments("Refusals of Caddy itself, in the form of ours: without a decision, and after an admission.")
    yield from _block("templates", ["mime application/json"])
    yield from _block(
        "header",
        [f"X-Request-Id {_ID}", "Cache-Control no-store", 'Content-Type "application/json; charset=utf-8"'],
    )
    yield f'@decided not vars {_UPSTREAM} ""'
    known: dict[str, d.Denial] = {
        "400": d.BadRequest("The request is not valid HTTP/1.1"),
        "413": d.BodyTooLarge(largest_body(snapshot)),
        "431": d.HeadTooLarge(),
    }
    for status, denial in known.items():
        yield f"@is{status} vars {{err.status_code}} {status}"
        yield from _block(f"handle @is{status}", _refusing(refuse(denial)))
    inner = [
        "@late vars {err.status_code} 504",
        *_block("handle @late", _refusing(refuse(d.UpstreamTimedOut(_UPSTREAM)))),
        "@bug vars {err.status_code} 500",
        *_block("handle @bug", _refusing(refuse(d.InternalError()))),
        *_block("handle", _refusing(refuse(d.UpstreamFailed(_UPSTREAM)))),
    ]
    yield from _block("handle @decided", inner)
    yield from _block("handle", _refusing(refuse(d.KeysUnavailable())))


def _refusing(refusal: Refusal) -> Iterator[str]:
    yield from (f"header {name} {value}" for name, value in refusal.headers if name == "Retry-After")
    yield f"respond `{error_body(refusal, _ID, '@').replace('@', _NOW)}` {refusal.status}"


def _told(name: str) -> str:
    # Go writes every name so.
    return f"{{http.reverse_proxy.header.{'-'.join(part.capitalize() for part in name.split('-'))}}}"


def _dial(where: Place) -> str:
    return where.authority if where.path is None else f"unix/{where.path}"
