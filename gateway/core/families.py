"""Families of field names: those that are removed by a prefix, spelt out for proxies that cannot do that.

A field of a family that is not spelt out here has to be refused in front of such a proxy, for it would pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.headers import OURS, RemovedNames, folded

if TYPE_CHECKING:
    from collections.abc import Iterable

MEMBERS: Final = (
    *("X-Gateway-Key-Id", "X-Gateway-Account-Id", "X-Gateway-Scopes", "X-Gateway-Identity", "X-Gateway-Upstream"),
    *("X-Gateway-Target", "X-Gateway-Status", "X-Gateway-Error-Body", "X-Gateway-Event-Id"),
    *("X-Consumer-Id", "X-Consumer-Custom-Id", "X-Consumer-Username", "X-Consumer-Groups"),
    *("X-Credential-Identifier", "X-Authenticated-Scope", "X-Authenticated-Userid", "X-Authenticated-Groups"),
    *("X-Api-Key", "X-Api-Key-Id"),
    *("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix"),
    *("X-Forwarded-Server", "X-Forwarded-Ssl", "X-Forwarded-Scheme", "X-Forwarded-Method", "X-Forwarded-Uri"),
    *("X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username"),
    *("X-Forwarded-Access-Token", "X-Forwarded-Client-Cert", "X-Forwarded-Path", "X-Forwarded-By"),
)
"""What is known to be sent by clients, proxies and those who try."""

_SPELT_OUT: Final = frozenset(folded(name.encode()) for name in MEMBERS)


class Families:
    """Says which fields belong to a family that is removed by its prefix, and are not spelt out."""

    __slots__ = ("_names",)

    def __init__(self, configured: Iterable[str]) -> None:
        """Take the *configured* names, families among them written with a last `*`."""
        prefixes = (folded(name[:-1].encode("latin-1")) for name in configured if name.endswith("*"))
        self._names = RemovedNames(exact=(), prefixes=(*OURS, *prefixes))

    def has_unknown(self, names: Iterable[bytes]) -> bool:
        """Say whether one of *names* is such a field."""
        starts = self._names.starts
        for name in names:
            start = starts.get(name)
            if start is None:
                start = self._names.start(name)
            if not start and folded(name) not in _SPELT_OUT:
                return True
        return False
