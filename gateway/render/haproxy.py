"""HAProxy: a complete haproxy.cfg, whose Lua script asks for each request; what was decided on is what is sent.

HAProxy chooses nothing by the path: upstream and target come with the decision. Names of fields are removed as the
gateway removes them, by their beginnings and with `_` and `.` read as `-`.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

from gateway.core import decision as d
from gateway.core.denials import refuse
from gateway.core.headers import folded
from gateway.core.upstreams import Balance
from gateway.render.front import (
    ANNOUNCED,
    IDENTITY,
    RATE_LIMIT,
    authority,
    error_body,
    expression,
    not_carried,
    own_patterns,
    patience,
    place,
    removed_names,
)
from gateway.render.haproxy_lua import variable
from gateway.render.text import comments, milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.core.snapshot import Snapshot
    from gateway.core.upstreams import UpstreamSettings, UpstreamTarget
    from gateway.render.front import Front, Place

_ID: Final = "%[var(txn.gateway_id)]"
_NOW: Final = "%[date,utime(%Y-%m-%dT%H:%M:%S)].%[date(0,ms),mod(1000),add(1000),bytes(1,3)]Z"
_UPSTREAM: Final = "%[var(txn.gateway_upstream)]"
_ADMITTED: Final = "{ var(txn.gateway_upstream) -m found }"
_ANSWERED: Final = "{ var(txn.gateway_answered) -m found }"
_KEPT: Final = frozenset({"host", "authorization", "connection", "expect", "upgrade", "x-forwarded-for"})
"""What HAProxy looks after, and what is taken out only where it is ours."""
_OWN: Final[dict[int, d.Denial]] = {
    400: d.BadRequest("The request is not valid HTTP/1.1"),
    408: d.BodyTimedOut(),
    500: d.InternalError(),
    502: d.UpstreamFailed(_UPSTREAM),
    503: d.UpstreamFailed(_UPSTREAM),
    504: d.UpstreamTimedOut(_UPSTREAM),
}
"""What HAProxy refuses itself, and as which of our refusals; 503 is a server that cannot be connected to."""


def haproxy_configuration(front: Front, script: str) -> str:
    """Give the text of a whole haproxy.cfg that loads the Lua *script*; `listen` of *front* is as `bind` has it.

    Raises NotRenderable.
    """
    snapshot = front.snapshot
    lines = [
        *comments(f"Written by `gateway render haproxy` from the settings of version {snapshot.version}. Change"),
        *comments("gateway.yaml and write it again, with the script. Needs HAProxy 2.6 or later with Lua and PCRE."),
        *comments(*not_carried(snapshot, "CORS", "WebSocket")),
        *comments("NOT CARRIED: the limit of bodies without a declared length."),
        *_section("global", [f"lua-load-per-thread {script}"]),
        *(_section("resolvers system", ["parse-resolv-conf", "hold valid 10s"]) if _has_names(snapshot) else []),
        *_section("defaults", _defaults(snapshot)),
        *_section("frontend gateway", _frontend(front)),
        *_section("backend gateway_itself", ["timeout server 60s", f"server itself {_at(front.gateway)}"]),
    ]
    for upstream in snapshot.upstreams.values():
        lines += _section(f"backend gateway_to_{upstream.name}", _upstream(snapshot, upstream))
    return "\n".join(lines) + "\n"


def _section(head: str, lines: Iterable[str]) -> list[str]:
    return ["", head, *(f"    {line}".rstrip() for line in lines)]


def _defaults(snapshot: Snapshot) -> Iterator[str]:
    yield from ("mode http", "timeout connect 1s", "timeout server 30s", "timeout http-request 10s")
    yield f"timeout client {milliseconds(snapshot.request_limits.body_idle_s)}"
    yield from ("timeout http-keep-alive 75s", "option http-keep-alive", "http-reuse safe", "retries 0")
    yield from comments("Refusals of HAProxy itself, in the form of ours.")
    for status, denial in _OWN.items():
        refusal = refuse(denial)
        retrying = [f"hdr {name} {value}" for name, value in refusal.headers if name == "Retry-After"]
        fields = ["hdr Cache-Control no-store", *retrying]
        body = error_body(refusal, _ID, "@").replace("%", "%%").replace("%%[", "%[").replace("@", _NOW)
        kind = '"application/json; charset=utf-8"'
        yield f"http-error status {status} content-type {kind} lf-string {_quoted(body)} {' '.join(fields)}"


def _frontend(front: Front) -> Iterator[str]:
    snapshot = front.snapshot
    yield f"bind {front.listen}"
    yield from comments("The id of a request that is refused before a decision.")
    yield "http-request set-var-fmt(txn.gateway_id) req_%[uuid(),regsub(-,,g),bytes(0,16)]"
    yield from comments("Who the client is: what trusted proxies say of it, and where HAProxy was connected from.")
    yield "http-request set-var-fmt(txn.gateway_forwarded_for) %[src]"
    trusted = snapshot.trusted_proxies.texts
    if trusted:
        chain = '"%[req.fhdr(x-forwarded-for)], %[src]"'
        believed = f"{{ src {' '.join(trusted)} }} {{ req.fhdr(x-forwarded-for) -m found }}"
        yield f"http-request set-var-fmt(txn.gateway_forwarded_for) {chain} if {believed}"
    yield "http-request set-var(txn.gateway_asked_host) req.hdr(host)"
    yield from _request_for_itself(snapshot)
    yield from comments("The decision, and what was decided on: upstream and target.")
    yield "http-request lua.gateway_decide"
    yield "http-request set-uri %[var(txn.gateway_target)]"
    yield from _request_fields(snapshot)
    yield from _answer_fields(snapshot)
    yield from ("use_backend gateway_itself if itself", f"use_backend gateway_to_{_UPSTREAM}")


def _request_for_itself(snapshot: Snapshot) -> Iterator[str]:
    own = " ".join(_quoted(expression(pattern, snapshot.strip_prefixes)) for pattern in own_patterns(snapshot))
    yield from comments("What the gateway answers itself, and decides on itself.")
    yield f"acl itself path -m reg {own}"
    yield from (f"http-request del-header {name} if itself" for name in ("forwarded", "x-request-id"))
    for name, value in _forwarded().items():
        yield f"http-request set-header {name} {value} if itself"
    yield "http-request allow if itself"


def _forwarded() -> dict[str, str]:
    return {
        "X-Forwarded-For": "%[var(txn.gateway_forwarded_for)]",
        "X-Forwarded-Proto": '"%[ssl_fc,iif(https,http)]"',
        "X-Forwarded-Host": "%[var(txn.gateway_asked_host)]",
    }


def _request_fields(snapshot: Snapshot) -> Iterator[str]:
    yield from comments("What an upstream gets.")
    families = frozenset({"x-gateway-*", *(name for name in snapshot.removed_headers if name.endswith("*"))})
    exact = removed_names(snapshot, _KEPT, frozenset(name.lower() for name in families))
    yield f"http-request del-header {_quoted(f'^(?:{_folding(exact)})$')} -m reg"
    yield f"http-request del-header {_quoted(f'^(?:{_folding(name[:-1] for name in sorted(families))})')} -m reg"
    yield from comments("An Authorization that is not ours goes on where the key was not in it.")
    ours = _quoted("|".join(snapshot.key_format.prefixes))
    yield f"http-request del-header authorization if {{ req.fhdr(authorization) -m reg {ours} }}"
    if not snapshot.key_format.in_api_key:
        yield f"http-request del-header authorization if {_told(IDENTITY[0])}"
    for name, value in {**_forwarded(), "X-Request-Id": _ID, "Via": '"1.1 gateway"'}.items():
        yield f"http-request set-header {name} {value}"
    for name in IDENTITY:
        yield f"http-request set-header {name} %[var({variable(name)})] if {_told(name)}"


def _folding(names: Iterable[str]) -> str:
    """Give an alternative of names, with `_` and `.` for each `-`; HAProxy has names in lower case."""
    return "|".join(re.escape(folded(name.encode())).replace(r"\-", "[-_.]") for name in names)


def _answer_fields(snapshot: Snapshot) -> Iterator[str]:
    yield from comments("What a client gets, whoever answers. HAProxy says 503 of a server that it cannot connect to.")
    yield f'http-after-response set-status 502 reason "Bad Gateway" if {{ status 503 }} {_ADMITTED} !{_ANSWERED}'
    yield f"http-after-response set-header X-Request-Id {_ID} unless {{ res.hdr(x-request-id) -m found }}"
    for name in (*RATE_LIMIT, *(ANNOUNCED if snapshot.limits_announced else ())):
        yield f"http-after-response set-header {name} %[var({variable(name)})] if {_told(name)}"


def _told(name: str) -> str:
    return f"{{ var({variable(name)}) -m len gt 0 }}"


def _upstream(snapshot: Snapshot, upstream: UpstreamSettings) -> Iterator[str]:
    timeouts = patience(snapshot, upstream.name)
    yield f"timeout connect {milliseconds(timeouts.connect_s)}"
    yield f"timeout server {milliseconds(max(timeouts.first_byte_s, timeouts.idle_s))}"
    yield f"balance {'leastconn' if upstream.balance is Balance.LEAST_CONNECTIONS else 'roundrobin'}"
    if len(upstream.targets) > 1:
        yield from ("retries 1", "option redispatch 1")
    if not upstream.preserve_host:
        yield f"http-request set-header Host {authority(upstream)}"
    yield "http-response set-var(txn.gateway_answered) bool(true)"
    yield from (f"http-response del-header {name} -m beg" for name in ("x-gateway-", "x-ratelimit-"))
    for name in ("x-request-id", *(ANNOUNCED if snapshot.limits_announced else ())):
        yield f"http-response del-header {name}"
    for number, target in enumerate(upstream.targets):
        kept = f"pool-max-conn {upstream.idle_connections_max}"
        looked_up = " resolvers system init-addr last,libc,none" if _is_name(target) else ""
        yield f"server target{number} {_at(place(upstream, target))} weight {target.weight} {kept}{looked_up}"


def _has_names(snapshot: Snapshot) -> bool:
    return any(_is_name(target) for upstream in snapshot.upstreams.values() for target in upstream.targets)


def _is_name(target: UpstreamTarget) -> bool:
    """Say whether *target* has to be looked up."""
    if target.path is not None:
        return False
    try:
        ipaddress.ip_address(target.host)
    except ValueError:
        return True
    return False


def _at(where: Place) -> str:
    return where.authority if where.path is None else f"unix@{where.path}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
