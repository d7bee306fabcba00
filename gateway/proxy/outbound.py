"""Outbound: the head that an admitted request has for its upstream (contract section 6)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs

from gateway.core.credentials import mentions_key
from gateway.core.headers import passed_lines

if TYPE_CHECKING:
    from gateway.accounting.record import RequestRecord
    from gateway.core.decision import Admit
    from gateway.core.paths import Target
    from gateway.proxy.head import RequestHead
    from gateway.proxy.incoming import ClientRequest

_TRACE: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")


def outbound_head(request: ClientRequest, record: RequestRecord, admit: Admit, framing: bytes) -> tuple[bytes, bytes]:
    """Give the head in two parts, before and after the value of Host."""
    facts = record.facts
    assert facts is not None
    section, key_format = request.head.section, record.snapshot.key_format
    known = section.forwarded
    forwarded = known[1] if known is not None and known[0] is record.snapshot else _forwarded(request, record)
    foreign = b""
    if (admit.principal is None or key_format.in_api_key) and section.authorizations:
        authorization = section.authorizations[0]
        if not mentions_key(authorization, key_format):
            foreign = f"Authorization: {authorization}\r\n".encode("utf-8", "surrogateescape")
    ids = (
        f"X-Request-Id: {record.request_id}\r\ntraceparent: {_trace(section.traceparent, record.entropy)}\r\n"
    ).encode("ascii")
    start = f"{facts.method} {facts.target.path}{facts.target.query} HTTP/1.1\r\nHost: ".encode("ascii")
    return start, b"".join((b"\r\n", forwarded, foreign, ids, admit.identity, framing, b"\r\n"))


def _forwarded(request: ClientRequest, record: RequestRecord) -> bytes:
    """Make the lines that are the same for every request with these fields from this client, and leave them there."""
    facts, head, removed = record.facts, request.head, record.snapshot.removed
    assert facts is not None
    trusted = record.from_trusted
    lines = passed_lines(head.section.raw, removed.from_trusted if trusted else removed.from_strangers)
    hops, scheme, wanted = record.peer, request.scheme, wanted_host(head, facts.target)
    if trusted:
        headers = head.headers
        hops = ", ".join((*headers.getall(hdrs.X_FORWARDED_FOR, ()), hops))
        scheme = headers.get(hdrs.X_FORWARDED_PROTO, scheme)
        wanted = headers.get(hdrs.X_FORWARDED_HOST, wanted)
    lines.append(
        f"X-Forwarded-For: {hops}\r\nX-Forwarded-Proto: {scheme}\r\nX-Forwarded-Host: {wanted}\r\n"
        f"Via: 1.{head.version[1]} gateway\r\n".encode("utf-8", "surrogateescape")
    )
    forwarded = b"\r\n".join(lines)
    head.section.forwarded = (record.snapshot, forwarded)
    return forwarded


def wanted_host(head: RequestHead, target: Target) -> str:
    """Give the host that the client asked for, or nothing when it named two.

    With a target in absolute form Host is to be ignored (RFC 9112 section 3.2.2), but a client that could choose
    between the two would be seen in one place by who reads the one, and in another by who reads the other.
    """
    host = "".join(head.section.hosts)
    return host if target.authority is None or target.authority.lower() == host.lower() else ""


def _trace(sent: str | None, entropy: str) -> str:
    """Continue the client's trace, or begin one (W3C Trace Context); we are one more span of it."""
    trace = None if sent is None else _TRACE.fullmatch(sent)
    if trace is None:
        return f"00-{entropy}-{entropy[8:24]}-00"
    return f"00-{trace[1]}-{entropy[8:24]}-{trace[2]}"
