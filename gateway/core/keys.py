"""The key record: what the store knows of an API key, and what its state allows."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.core.network import AddressSet


class KeyStatus(enum.StrEnum):
    """Whether a key works: not while it is SUSPENDED, and never again once REVOKED. Expiry is a time, not a status."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    REVOKED = "REVOKED"


LEGAL_CHANGES: dict[KeyStatus, frozenset[KeyStatus]] = {
    KeyStatus.ACTIVE: frozenset(KeyStatus),
    KeyStatus.SUSPENDED: frozenset(KeyStatus),
    KeyStatus.REVOKED: frozenset({KeyStatus.REVOKED}),
}


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One API key as the data plane sees it through one of its secrets.

    Times are Unix seconds. *prefix* is the first 12 characters of the secret that was looked up. *retired_at* is when
    that secret stops working (rotation with grace), None for a current one. *allowed* is None when any address may
    use the key.
    """

    id: str
    account_id: str
    prefix: str
    scopes: frozenset[str]
    rate_limit_per_hour: int
    status: KeyStatus = KeyStatus.ACTIVE
    allowed: AddressSet | None = None
    expires_at: float | None = None
    retired_at: float | None = None
    deleted: bool = False
    webhook_url: str | None = None
    algorithm: str | None = None


def may_become(current: KeyStatus, wanted: KeyStatus) -> bool:
    """Say whether a key may go from *current* to *wanted*; REVOKED is final."""
    return wanted in LEGAL_CHANGES[current]
