"""Outbound: the head that an admitted request has for its upstream (contract section 6)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs
from multidict import istr

from gateway.core.headers import passed_lines

if TYPE_CHECKING:
    from gateway.core.decision import Admit
    from gateway.proxy.incoming import ClientRequest
    from gateway.proxy.record import RequestRecord

_TRACEPARENT: Final = istr("traceparent")
_TRACE: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")


def outbound_head(request: ClientRequest, record: RequestRecord, admit: Admit, framing: bytes) -> tuple[bytes, bytes]:
    """Give the head in two parts, before and after the value of Host."""
    facts = record.facts
    assert facts is not None
    head = request.head
    headers = head.headers
    trusted = record.from_trusted
    removed = record.snapshot.removed
    lines = passed_lines(head.raw_headers, removed.from_trusted if trusted else removed.from_strangers)
    if admit.principal is None and hdrs.AUTHORIZATION in headers and not _is_ours(headers[hdrs.AUTHORIZATION], record):
        lines.append(f"Authorization: {headers[hdrs.AUTHORIZATION]}".encode("utf-8", "surrogateescape"))
    wanted = headers.get(hdrs.HOST, "")
    hops, scheme = record.peer, request.scheme
    if trusted:
        hops = ", ".join((*headers.getall(hdrs.X_FORWARDED_FOR, ()), hops))
        scheme = headers.get(hdrs.X_FORWARDED_PROTO, scheme)
        wanted = headers.get(hdrs.X_FORWARDED_HOST, wanted)
    lines.append(
        f"X-Request-Id: {record.request_id}\r\ntraceparent: {_trace(headers.get(_TRACEPARENT), record.entropy)}\r\n"
        f"X-Forwarded-For: {hops}\r\nX-Forwarded-Proto: {scheme}\r\nX-Forwarded-Host: {wanted}\r\n"
        f"Via: 1.{head.version[1]} gateway\r\n".encode("utf-8", "surrogateescape")
    )
    start = f"{facts.method} {facts.target.path}{facts.target.query} HTTP/1.1\r\nHost: ".encode("ascii")
    return start, b"".join((b"\r\n", b"\r\n".join(lines), admit.identity, framing, b"\r\n"))


def _is_ours(authorization: str, record: RequestRecord) -> bool:
    token = authorization.partition(" ")[2].strip()
    return token.startswith(record.snapshot.key_format.prefixes)


def _trace(sent: str | None, entropy: str) -> str:
    """Continue the client's trace, or begin one (W3C Trace Context); we are one more span of it."""
    trace = None if sent is None else _TRACE.fullmatch(sent)
    if trace is None:
        return f"00-{entropy}-{entropy[8:24]}-00"
    return f"00-{trace[1]}-{entropy[8:24]}-{trace[2]}"
