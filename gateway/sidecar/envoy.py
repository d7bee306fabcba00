"""Envoy's own: what an admission says to it beside what every proxy is told.

Envoy sets fields of a request and removes those that it is told to, so what is empty is removed, and the key with it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gateway.core.credentials import mentions_key
from gateway.sidecar.answer import IDENTITIES_REMEMBERED_MAX, IDENTITY, UNLIMITED, Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.decision import Admit
    from gateway.core.routes import Route
    from gateway.core.snapshot import KeyFormat

TO_REMOVE: Final = b"X-Envoy-Auth-Headers-To-Remove"


def for_envoy(
    reply: Reply, admit: Admit, route: Route, path: str, authorizations: Sequence[str], key_format: KeyFormat
) -> Reply:
    """Add to an admission the route and what is to be removed; rate-limit fields that say nothing are left out.

    *path* is the target without its query, which Envoy keeps by itself.
    An Authorization goes on where a proxied request would keep it: where the key was not in it.
    """
    keeps = (admit.principal is None or key_format.in_api_key) and not any(
        mentions_key(value, key_format) for value in authorizations
    )
    ending = _ending(admit.identity, route.name, keeps=keeps)
    lines = b"%bX-Gateway-Path: %b\r\n%b" % (reply.lines.replace(UNLIMITED, b""), path.encode(), ending)
    return Reply(reply.status, lines, reply.body)


@lru_cache(IDENTITIES_REMEMBERED_MAX)
def _ending(identity: bytes, route: str, *, keeps: bool) -> bytes:
    known = {line.partition(b":")[0] for line in identity.split(b"\r\n")}
    absent = [name for name in IDENTITY if name not in known] + ([] if keeps else [b"Authorization"])
    lines = b"X-Gateway-Route: %b\r\n" % route.encode()
    return lines + b"%b: %b\r\n" % (TO_REMOVE, b",".join(absent)) if absent else lines
