"""Reading: from what a proxy tells of a request to the facts that policy may see; what is ambiguous becomes a denial.

Method and target are believed of any caller: reaching the listener is the boundary of trust. Who the client is, is
believed only of trusted proxies, and where it is not known no address list admits anybody (contract section 6b).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs

from gateway.core import credentials
from gateway.core.decision import BadRequest, BodyTooLarge, TargetTooLong
from gateway.core.facts import RequestFacts
from gateway.core.families import Families
from gateway.core.network import AddressSet, client_address
from gateway.core.paths import TargetRefused, parse_target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.core.decision import Denial
    from gateway.core.routes import Route
    from gateway.core.snapshot import Snapshot
    from gateway.sidecar.dialects import Fields, Original

SOCKET_PEER: Final = "unix"
"""How usage events call a caller on a Unix socket."""
BODY_LENGTH: Final = "X-Original-Content-Length"
_STAND_IN: Final = "192.0.0.8"
"""Stands for a trusted caller in the list of hops: no host has this address (RFC 7600)."""
_METHOD: Final = re.compile(r"[A-Z]{1,20}")
_LENGTH: Final = re.compile(r"[0-9]{1,15}")


def caller_is_trusted(peer: str, snapshot: Snapshot) -> bool:
    """Say whether a caller is one whose word on addresses is taken; *peer* is empty on a Unix socket."""
    return peer in snapshot.trusted_proxies if peer else snapshot.socket_trusted


@dataclass(frozen=True, slots=True)
class Client:
    """The *address* of the client, or of the caller where the client's is not known.

    *disputed* is when a trusted caller names two.
    """

    address: str
    known: bool
    disputed: bool = False


def read_client(headers: Fields, peer: str, snapshot: Snapshot) -> Client:
    """Read who the client is, as far as the caller at *peer* is believed."""
    if caller_is_trusted(peer, snapshot):
        trusted = _with_stand_in(snapshot.trusted_proxies)
        forwarded = headers.getall(hdrs.X_FORWARDED_FOR, ()), headers.getall(hdrs.FORWARDED, ())
        address = client_address(_STAND_IN, trusted, *forwarded)
        if address is None:
            return Client(peer or SOCKET_PEER, known=False, disputed=True)
        if address != _STAND_IN:
            return Client(address, known=True)
    return Client(peer or SOCKET_PEER, known=False)


def read_facts(original: Original, headers: Fields, client: Client, snapshot: Snapshot) -> RequestFacts | Denial:
    """Read the facts of a request; everything that two servers could read differently is refused."""
    if _METHOD.fullmatch(original.method) is None:
        return BadRequest("The request method is not a known token")
    limit = snapshot.request_limits.target_max_bytes
    if len(original.target) > limit:
        return TargetTooLong(limit)
    target = parse_target(original.target, snapshot.strip_prefixes)
    if isinstance(target, TargetRefused):
        return BadRequest(target.reason)
    if client.disputed:
        return BadRequest("X-Forwarded-For and Forwarded name different clients")
    authorization, key_format = headers.getall(hdrs.AUTHORIZATION, ()), snapshot.key_format
    if key_format.in_api_key:
        credential = credentials.read_both(authorization, headers.getall("X-API-Key", ()), key_format)
    else:
        credential = credentials.read(authorization, key_format)
    if isinstance(credential, credentials.RepeatedCredential):
        return BadRequest(credential.reason)
    return RequestFacts(original.method, target, client.address, credential, address_is_known=client.known)


@lru_cache(maxsize=4)
def _with_stand_in(trusted: AddressSet) -> AddressSet:
    return AddressSet((*trusted.texts, _STAND_IN))


@lru_cache(maxsize=4)
def _families(removed: tuple[str, ...]) -> Families:
    return Families(removed)


def unremovable(names: Iterable[bytes], snapshot: Snapshot) -> Denial | None:
    """Refuse fields that a proxied request would lose, and that nginx, which removes none by prefix, would pass on."""
    if _families(snapshot.removed_headers).has_unknown(names):
        return BadRequest(
            "A header field says who somebody is, and is not one that can be removed here: do not send it"
        )
    return None


def too_large(headers: Fields, route: Route) -> Denial | None:
    """Refuse a body that is declared larger than its route takes, where the proxy tells of it."""
    for length in headers.getall(BODY_LENGTH, ()):
        if length and (_LENGTH.fullmatch(length) is None or int(length) > route.body_max_bytes):
            return BodyTooLarge(route.body_max_bytes)
    return None
