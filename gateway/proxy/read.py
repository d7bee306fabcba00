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
    from collections.abc import Sequence

    from gateway.core.credentials import Credential, CredentialProblem
    from gateway.core.decision import Denial
    from gateway.core.headers import Field
    from gateway.core.routes import Route
    from gateway.core.snapshot import KeyFormat, RequestLimits, Snapshot
    from gateway.proxy.head import HeaderSection, RequestHead
    from gateway.proxy.incoming import ClientRequest

API_KEY: Final = istr("X-API-Key")
LENGTH_DIGITS_MAX: Final = 15
_HOST: Final = re.compile(HOST)
_METHOD: Final = re.compile(r"[A-Z]{1,20}")
_TOKEN_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


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
    known = head.section.credential
    if known is not None and known[0] is snapshot.key_format:
        credential = known[1]
    else:
        credential = _read_credential(head.section, snapshot.key_format)
    if isinstance(credential, credentials.RepeatedCredential):
        return BadRequest(credential.reason)
    return RequestFacts(head.method, target, address, credential)


def _read_credential(section: HeaderSection, key_format: KeyFormat) -> Credential | CredentialProblem:
    """Read the credential, and leave it with the section."""
    if key_format.in_api_key:
        api_keys = section.dictionary.getall(API_KEY, ())
        credential = credentials.read_both(section.authorizations, api_keys, key_format)
    else:
        credential = credentials.read(section.authorizations, key_format)
    section.credential = (key_format, credential)
    return credential


def _odd_head(head: RequestHead, limits: RequestLimits, head_bytes: int | None) -> Denial | None:
    """Refuse heads that are too large or have two readings, RFC 9112 sections 3.2 and 6.3 among the reasons."""
    version = head.version
    if version is not HttpVersion11 and version not in (HttpVersion11, HttpVersion10):
        return VersionRefused()
    if len(head.path) > limits.target_max_bytes:
        return TargetTooLong(limits.target_max_bytes)
    if head.method not in METHODS and _METHOD.fullmatch(head.method) is None:
        return BadRequest("The request method is not a known token")
    return None if head.section.limits is limits else _odd_section(head, limits, head_bytes)


def _odd_section(head: RequestHead, limits: RequestLimits, head_bytes: int | None) -> Denial | None:
    """Refuse fields that are too many or have two readings, and leave with the others whose limits they keep."""
    section = head.section
    if _too_large(section.raw, limits, head_bytes):
        return HeadTooLarge()
    hosts = section.hosts
    if len(hosts) != 1 and (hosts or head.version == HttpVersion11):
        return BadRequest("Exactly one Host header is needed")
    if hosts and _HOST.fullmatch(hosts[0]) is None:
        return BadRequest("The Host header is not a host")
    if section.special and hdrs.TRANSFER_ENCODING in head.headers:
        return _odd_framing(head)
    section.limits = limits
    return None


def _too_large(fields: Sequence[Field], limits: RequestLimits, head_bytes: int | None) -> bool:
    """Measure the fields: no pass, or one, where all of them together are small enough for one."""
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
    if not request.head.section.special:
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
    return head.section.special and "websocket" in head.headers.get(hdrs.UPGRADE, "").lower()


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
