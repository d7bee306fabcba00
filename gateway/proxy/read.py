"""Reading: from a request on the wire to the facts that policy may see; what is ambiguous becomes a denial."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs
from aiohttp.http import HttpVersion10, HttpVersion11
from multidict import istr

from gateway.core import credentials
from gateway.core.decision import (
    BadRequest,
    BodyTooLarge,
    ExpectationUnknown,
    HandshakeRefused,
    HeadTooLarge,
    TargetTooLong,
    UpgradeRefused,
    VersionRefused,
)
from gateway.core.facts import RequestFacts
from gateway.core.network import client_address
from gateway.core.paths import HOST, TargetRefused, parse_target
from gateway.core.websocket import handshake_problem
from gateway.telemetry.metrics import METHODS

if TYPE_CHECKING:
    from gateway.core.decision import Denial
    from gateway.core.routes import Route
    from gateway.core.snapshot import RequestLimits, Snapshot
    from gateway.proxy.head import RequestHead
    from gateway.proxy.incoming import ClientRequest

API_KEY: Final = istr("X-API-Key")
LENGTH_DIGITS_MAX: Final = 15
HOSTS_REMEMBERED_MAX: Final = 1024
_HOST: Final = re.compile(HOST)
_METHOD: Final = re.compile(r"[A-Z]{1,20}")
_TOKEN_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_good_hosts: Final[set[str]] = set()


def read_facts(
    head: RequestHead, peer: str, snapshot: Snapshot, head_bytes: int | None = None
) -> RequestFacts | Denial:
    """Read the facts of a request; everything that two servers could read differently is refused.

    *head_bytes* is the size of the head, None where it is not known.
    """
    refused = _odd_head(head, snapshot.request_limits, head_bytes)
    if refused is not None:
        return refused
    target = parse_target(head.path, snapshot.strip_prefixes)
    if isinstance(target, TargetRefused):
        return BadRequest(target.reason)
    address: str | None = peer
    if snapshot.trusted_proxies.texts:
        every = head.headers.getall
        address = client_address(
            peer, snapshot.trusted_proxies, every(hdrs.X_FORWARDED_FOR, ()), every(hdrs.FORWARDED, ())
        )
    elif ":" in peer:
        address = client_address(peer, snapshot.trusted_proxies, (), ())
    if address is None:
        return BadRequest("X-Forwarded-For and Forwarded name different clients")
    key_format = snapshot.key_format
    if key_format.in_api_key:
        credential = credentials.read_both(head.authorizations, head.headers.getall(API_KEY, ()), key_format)
    else:
        credential = credentials.read(head.authorizations, key_format)
    if isinstance(credential, credentials.RepeatedCredential):
        return BadRequest(credential.reason)
    return RequestFacts(head.method, target, address, credential)


def _odd_head(head: RequestHead, limits: RequestLimits, head_bytes: int | None) -> Denial | None:
    """Refuse heads that are too large or have two readings, RFC 9112 sections 3.2 and 6.3 among the reasons."""
    version = head.version
    if version is not HttpVersion11 and version not in (HttpVersion11, HttpVersion10):
        return VersionRefused()
    if len(head.path) > limits.target_max_bytes:
        return TargetTooLong(limits.target_max_bytes)
    if _too_large(head, limits, head_bytes):
        return HeadTooLarge()
    if head.method not in METHODS and _METHOD.fullmatch(head.method) is None:
        return BadRequest("The request method is not a known token")
    hosts = head.hosts
    if len(hosts) != 1 and (hosts or version == HttpVersion11):
        return BadRequest("Exactly one Host header is needed")
    if hosts and not _is_host(hosts[0]):
        return BadRequest("The Host header is not a host")
    if head.special and hdrs.TRANSFER_ENCODING in head.headers:
        return _odd_framing(head)
    return None


def _too_large(head: RequestHead, limits: RequestLimits, head_bytes: int | None) -> bool:
    """Measure the fields: no pass, or one, where all of them together are small enough for one."""
    fields = head.raw_headers
    if len(fields) > limits.fields_max:
        return True
    if head_bytes is not None and head_bytes <= limits.field_max_bytes:
        return False
    size = sum(map(len, chain.from_iterable(fields)))
    if size <= limits.field_max_bytes:
        return False
    return size + 4 * len(fields) > limits.head_max_bytes or any(
        len(name) + len(value) > limits.field_max_bytes for name, value in fields
    )


def _is_host(text: str) -> bool:
    if text in _good_hosts:
        return True
    if _HOST.fullmatch(text) is None:
        return False
    if len(_good_hosts) < HOSTS_REMEMBERED_MAX:
        _good_hosts.add(text)
    return True


def _odd_framing(head: RequestHead) -> Denial | None:
    if head.version == HttpVersion10:
        return BadRequest("Transfer-Encoding needs HTTP/1.1")
    if [value.strip().lower() for value in head.headers.getall(hdrs.TRANSFER_ENCODING)] != ["chunked"]:
        return BadRequest("The only transfer coding that is understood is chunked")
    if hdrs.CONTENT_LENGTH in head.headers:
        return BadRequest("Content-Length and Transfer-Encoding exclude each other")
    return None


def odd_request(request: ClientRequest, route: Route) -> Denial | None:
    """Refuse what the route will not carry: a body declared too large, an unknown expectation, an upgrade."""
    if not request.head.special:
        return None
    headers = request.head.headers
    if request.has_stream:
        length = headers.get(hdrs.CONTENT_LENGTH)
        if length is not None and (len(length) > LENGTH_DIGITS_MAX or int(length) > route.body_max_bytes):
            return BodyTooLarge(route.body_max_bytes)
    expect = headers.get(hdrs.EXPECT)
    if expect is not None and expect.strip().lower() != "100-continue":
        return ExpectationUnknown()
    upgrade = headers.get(hdrs.UPGRADE)
    if upgrade is not None and "websocket" in upgrade.lower():
        return UpgradeRefused() if route.websocket_idle_s is None else _odd_handshake(request)
    return None


def opens_websocket(head: RequestHead) -> bool:
    """Say whether a request that is not odd, on a route that carries WebSockets, is a handshake."""
    return head.special and "websocket" in head.headers.get(hdrs.UPGRADE, "").lower()


def _odd_handshake(request: ClientRequest) -> Denial | None:
    """Refuse a handshake with two readings: the bytes after it are a tunnel for one server, and a request for another.

    aiohttp has to be one of those that changed the protocol.
    """
    head = request.head
    every = head.headers.getall
    problem = handshake_problem(
        head.method,
        every(hdrs.CONNECTION, ()),
        every(hdrs.UPGRADE, ()),
        every(hdrs.SEC_WEBSOCKET_VERSION, []),
        every(hdrs.SEC_WEBSOCKET_KEY, []),
    )
    if problem is None and (request.has_stream or not head.upgrade or head.version != HttpVersion11):
        problem = "A WebSocket is opened with HTTP/1.1 and without a body"
    return None if problem is None else HandshakeRefused(problem)


def is_preflight(head: RequestHead) -> bool:
    """Say whether a browser asks what it may ask (Fetch, section 3.2.2)."""
    return (
        head.method == "OPTIONS" and hdrs.ORIGIN in head.headers and hdrs.ACCESS_CONTROL_REQUEST_METHOD in head.headers
    )


def request_id_from(head: RequestHead) -> str | None:
    """Give the request id that a trusted proxy sent, if it is one (contract section 5)."""
    value = head.headers.get("X-Request-Id", "")
    return value if _TOKEN_ID.fullmatch(value) else None
