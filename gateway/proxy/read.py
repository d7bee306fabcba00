"""Reading: from a request on the wire to the facts that policy may see; what is ambiguous becomes a denial."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs
from aiohttp.http import HttpVersion10, HttpVersion11

from gateway.core import credentials
from gateway.core.decision import (
    BadRequest,
    BodyTooLarge,
    ExpectationUnknown,
    HeadTooLarge,
    TargetTooLong,
    UpgradeRefused,
    VersionRefused,
)
from gateway.core.facts import RequestFacts
from gateway.core.network import client_address
from gateway.core.paths import TargetRefused, parse_target

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.core.decision import Denial
    from gateway.core.routes import Route
    from gateway.core.snapshot import RequestLimits, Snapshot

_HOST: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=%-]*(:[0-9]*)?|\[[0-9A-Fa-f:.]+\](:[0-9]*)?")
_METHOD: Final = re.compile(r"[A-Z]{1,20}")
_TOKEN_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


def peer_address(request: web.BaseRequest) -> str:
    """Give the address of whoever holds the other end of the connection; a Unix socket has none."""
    peer = request.get_extra_info("peername")
    return peer[0] if isinstance(peer, tuple) else ""


def read_facts(request: web.BaseRequest, peer: str, snapshot: Snapshot) -> RequestFacts | Denial:
    """Read the facts of *request*; everything that two servers could read differently is refused."""
    refused = _odd_head(request, snapshot.request_limits)
    if refused is not None:
        return refused
    target = parse_target(request.raw_path, snapshot.strip_prefixes)
    if isinstance(target, TargetRefused):
        return BadRequest(target.reason)
    headers = request.headers
    address = peer
    if snapshot.trusted_proxies:
        address = client_address(
            peer,
            snapshot.trusted_proxies,
            headers.getall(hdrs.X_FORWARDED_FOR, ()),
            headers.getall(hdrs.FORWARDED, ()),
        )
    elif ":" in peer:
        address = client_address(peer, snapshot.trusted_proxies, (), ())
    credential = credentials.read(headers.getall(hdrs.AUTHORIZATION, ()), snapshot.key_format)
    if isinstance(credential, credentials.RepeatedCredential):
        return BadRequest("More than one Authorization header")
    return RequestFacts(request.method, target, address, credential)


def _odd_head(request: web.BaseRequest, limits: RequestLimits) -> Denial | None:
    """Refuse heads that are too large or have two readings, RFC 9112 sections 3.2 and 6.3 among the reasons."""
    if request.version not in (HttpVersion11, HttpVersion10):
        return VersionRefused()
    if len(request.raw_path) > limits.target_max_bytes:
        return TargetTooLong(limits.target_max_bytes)
    sizes = [*map(len, chain.from_iterable(request.raw_headers))]
    if len(sizes) > 2 * limits.fields_max or sum(sizes) + 2 * len(sizes) > limits.head_max_bytes:
        return HeadTooLarge()
    if sizes and max(sizes) > limits.field_max_bytes:
        return HeadTooLarge()
    if _METHOD.fullmatch(request.method) is None:
        return BadRequest("The request method is not a known token")
    headers = request.headers
    hosts = headers.getall(hdrs.HOST, ())
    if len(hosts) > 1 or (not hosts and request.version == HttpVersion11):
        return BadRequest("Exactly one Host header is needed")
    if hosts and _HOST.fullmatch(hosts[0]) is None:
        return BadRequest("The Host header is not a host")
    if hdrs.TRANSFER_ENCODING in headers:
        if request.version == HttpVersion10:
            return BadRequest("Transfer-Encoding needs HTTP/1.1")
        if [value.strip().lower() for value in headers.getall(hdrs.TRANSFER_ENCODING)] != ["chunked"]:
            return BadRequest("The only transfer coding that is understood is chunked")
        if hdrs.CONTENT_LENGTH in headers:
            return BadRequest("Content-Length and Transfer-Encoding exclude each other")
    return None


def odd_request(request: web.BaseRequest, route: Route) -> Denial | None:
    """Refuse what the route will not carry: a body declared too large, an unknown expectation, an upgrade."""
    headers = request.headers
    length = headers.get(hdrs.CONTENT_LENGTH)
    if (length is not None and len(length) > 9 + 1) or (length is not None and int(length) > route.body_max_bytes):
        return BodyTooLarge(route.body_max_bytes)
    expect = headers.get(hdrs.EXPECT)
    if expect is not None and expect.strip().lower() != "100-continue":
        return ExpectationUnknown()
    upgrade = headers.get(hdrs.UPGRADE)
    if upgrade is not None and upgrade.strip().lower() == "websocket":
        return UpgradeRefused()
    return None


def request_id_from(request: web.BaseRequest) -> str | None:
    """Give the request id that a trusted proxy sent, if it is one (contract section 5)."""
    value = request.headers.get("X-Request-Id", "")
    return value if _TOKEN_ID.fullmatch(value) else None
