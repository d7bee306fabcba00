"""Policy: what a key may do on a route.

The order of all checks of a request (contract section 1): path (400) → route (404, 405) → credential (401) → key state
and expiry (401, 403) → address (403) → scope (403) → buckets (429). An unknown path is 404 for everyone, because the
paths are public documentation; a known one without a key is 401. Address comes before scope, so that a stolen key used
from elsewhere learns nothing about what it could do. Buckets come last: what is refused costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from gateway.core.bucket import Algorithm, Charges, Limit, LimitBy
from gateway.core.decision import (
    AddressNotAllowed,
    Admit,
    BadRequest,
    Decision,
    KeyExpired,
    KeyRevoked,
    KeySuspended,
    MethodNotAllowed,
    NotFound,
    Principal,
    ScopeMissing,
)
from gateway.core.headers import identity_lines
from gateway.core.keys import KeyStatus
from gateway.core.network import limiter_subject
from gateway.core.oddities import REASONS
from gateway.core.routes import MethodUnknown, PathAmbiguous, PathOdd, PathUnknown

if TYPE_CHECKING:
    from gateway.core.decision import Denial
    from gateway.core.facts import RequestFacts
    from gateway.core.keys import KeyRecord
    from gateway.core.routes import Matched, Route

HOUR_MS: Final = 3_600_000
HOURLY: Final = "hourly"


def unrouted(found: Matched) -> Denial:
    """Say why a request without a route is refused."""
    match found:
        case PathUnknown():
            return NotFound()
        case MethodUnknown(allowed):
            return MethodNotAllowed(allowed)
        case PathAmbiguous():
            return BadRequest("The path leads to different routes when it is read in different ways")
        case PathOdd(oddity):
            return BadRequest(REASONS[oddity])
        case _:
            assert_never(found)


def refusal(facts: RequestFacts, key: KeyRecord, route: Route, now: float) -> Decision | None:
    """Say why *facts* may not use *route* as *key* at *now* (Unix seconds), or None when they may.

    The first failing check is the answer.
    """
    if key.status is not KeyStatus.ACTIVE or key.deleted:
        if key.status is KeyStatus.SUSPENDED and not key.deleted:
            return KeySuspended(key.prefix)
        return KeyRevoked(key.prefix)
    if key.retired_at is not None and now >= key.retired_at:
        return KeyRevoked(key.prefix)
    if key.expires_at is not None and now >= key.expires_at:
        return KeyExpired(key.expires_at)
    if key.allowed is not None and (not facts.address_is_known or facts.client_address not in key.allowed):
        return AddressNotAllowed(facts.client_address)
    if route.scope is not None and route.scope not in key.scopes:
        return ScopeMissing(route.scope, tuple(sorted(key.scopes)))
    return None


def admission(key: KeyRecord, route: Route, algorithm: Algorithm, *, announced: bool = False) -> Admit:
    """Give what is admitted when nothing refuses: the same for every request of one key on one route.

    *announced* is whether answers tell of the key's own limit in the `RateLimit` fields too.
    """
    chosen = Algorithm(key.algorithm) if key.algorithm else route.algorithm or algorithm
    hourly = Limit(HOURLY, key.rate_limit_per_hour, HOUR_MS, chosen, announced=announced)
    by_key = tuple(limit for limit in route.limits if limit.by is LimitBy.KEY)
    principal = Principal(key.id, key.account_id, tuple(sorted(key.scopes)), key.prefix)
    return Admit(principal, Charges(key.id, (hourly, *by_key)), identity_lines(principal))


def public_admission(facts: RequestFacts, route: Route) -> Admit:
    """Admit a request to a public route, charged to its address where the route limits by address."""
    limits = tuple(limit for limit in route.limits if limit.by is LimitBy.ADDRESS)
    charges = Charges(f"address:{limiter_subject(facts.client_address)}", limits) if limits else None
    return Admit(None, charges)


def decide(facts: RequestFacts, key: KeyRecord, route: Route, now: float, algorithm: Algorithm) -> Decision:
    """Decide on a request whose key was found; pure, and all that a dry run or a test needs."""
    return refusal(facts, key, route, now) or admission(key, route, algorithm)
