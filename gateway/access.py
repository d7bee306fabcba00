"""Access: the one path from facts to a decision; proxy and sidecar both take it, so there is no second policy.

Key look-up → policy → charges. What policy refuses costs nothing; failed authentications are charged to the address.
"""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

from msgspec import Struct

from gateway.core.bucket import Charges, Taken
from gateway.core.credentials import (
    Credential,
    MalformedCredential,
    NoCredential,
    RepeatedCredential,
    could_be_ours,
)
from gateway.core.decision import (
    Admit,
    BadRequest,
    CredentialMissing,
    Decision,
    IdentityUnavailable,
    KeyInvalid,
    KeysUnavailable,
    LimiterUnavailable,
    Throttled,
    TooManyFailures,
)
from gateway.core.network import limiter_subject
from gateway.core.policy import admission, public_admission, refusal
from gateway.ports import KeySourceDown, LimiterDown
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.adapters.memory.keycache import CachedKey, KeyCache
    from gateway.adapters.memory.limiter import MemoryLimiter
    from gateway.core.decision import Principal
    from gateway.core.facts import RequestFacts
    from gateway.core.keys import KeyRecord
    from gateway.core.routes import Route
    from gateway.core.snapshot import Snapshot
    from gateway.ports import Limiter
    from gateway.telemetry.telemetry import Telemetry


class Verdict(Struct):
    """A decision, the key that it is about (None when none was found), and what the limiter said (None if unasked)."""

    decision: Decision
    key: KeyRecord | None = None
    taken: Taken | None = None


class Access:
    """Decides on requests with the outside world's help."""

    def __init__(
        self,
        keys: KeyCache,
        limiter: Limiter,
        local: MemoryLimiter,
        telemetry: Telemetry,
        clock: Callable[[], float],
        identity: Callable[[Principal, str, float], bytes | None] = lambda *_: None,
    ) -> None:
        """Take the collaborators; *clock* gives Unix seconds.

        *identity* gives the signed line for a principal, an audience and a time, None while it cannot be signed.
        """
        self._identity = identity
        self._keys = keys
        self._limiter = limiter
        self._local = local
        self._telemetry = telemetry
        self._clock = clock
        self._limiter_failed = False
        self._limiter_seconds = telemetry.histogram(metrics.LIMITER_SECONDS)
        self._taken = telemetry.counter(metrics.LIMITER_CALLS, "taken")

    async def check(self, facts: RequestFacts, route: Route, snapshot: Snapshot) -> Verdict:
        """Decide on *facts* for *route*, and take the tokens if the decision is to admit."""
        if route.public:
            key, admit = None, public_admission(facts, route)
        else:
            credential = facts.credential
            if not isinstance(credential, Credential):
                return await self._without_key(facts, credential, snapshot)
            cached = self._keys.fresh(credential.digest) or await self._find(facts, credential, snapshot)
            if isinstance(cached, Verdict):
                return cached
            key = cached.record
            refused = refusal(facts, key, route, self._clock())
            if refused is not None:
                return Verdict(refused, key)
            known = cached.derived.get(route.name)
            admit = known[1] if known is not None and known[0] is snapshot else _admission(cached, route, snapshot)
            if route.audience is not None:
                # Before the charges, for what is refused costs nothing.
                signed = self._sign(admit, route.audience)
                if signed is None:
                    return Verdict(IdentityUnavailable(), key)
                admit = signed
        charges = admit.charges
        if charges is None:
            return Verdict(admit, key)
        began = perf_counter()
        try:
            taken = await self._limiter.take(charges)
        except LimiterDown:
            self._limiter_failed = True
            return self._charge_without_limiter(admit, charges, key, snapshot)
        self._limiter_seconds.observe(perf_counter() - began)
        return self._charged(admit, charges, key, taken)

    def _sign(self, admit: Admit, audience: str) -> Admit | None:
        """Add the signed identity for *audience* to that in plain text; None while it cannot be signed."""
        assert admit.principal is not None
        line = self._identity(admit.principal, audience, self._clock())
        return None if line is None else replace(admit, identity=admit.identity + line)

    async def still_holds(self, facts: RequestFacts, route: Route) -> bool:
        """Say whether what *facts* was admitted to *route* for would be admitted now; no limit is asked or charged."""
        if route.public:
            return True
        assert isinstance(facts.credential, Credential)
        try:
            cached = await self._keys.find(facts.credential.digest)
        except KeySourceDown:
            return False
        return cached is not None and refusal(facts, cached.record, route, self._clock()) is None

    async def _find(self, facts: RequestFacts, credential: Credential, snapshot: Snapshot) -> CachedKey | Verdict:
        """Look up a key that is not fresh in the cache."""
        if not could_be_ours(credential, snapshot.key_format):
            return await self._failed(facts, KeyInvalid(credential.prefix), snapshot)
        try:
            cached = await self._keys.find(credential.digest)
        except KeySourceDown:
            return Verdict(KeysUnavailable())
        if cached is None:
            return await self._failed(facts, KeyInvalid(credential.prefix), snapshot)
        return cached

    async def _without_key(
        self,
        facts: RequestFacts,
        problem: NoCredential | MalformedCredential | RepeatedCredential,
        snapshot: Snapshot,
    ) -> Verdict:
        match problem:
            case NoCredential():
                return Verdict(CredentialMissing(snapshot.key_format.in_api_key))
            case RepeatedCredential(reason):
                return Verdict(BadRequest(reason))
            case MalformedCredential():
                return await self._failed(facts, KeyInvalid(None), snapshot)

    async def _failed(self, facts: RequestFacts, denial: KeyInvalid, snapshot: Snapshot) -> Verdict:
        """Charge a failed authentication to its address. It comes after the look-up: no valid key is refused by it."""
        if not facts.address_is_known:
            return Verdict(denial)
        charges = Charges(f"failed:{limiter_subject(facts.client_address)}", (snapshot.failed_authentications,))
        try:
            taken = await self._limiter.take(charges)
        except LimiterDown:
            taken = self._local.take_now(charges)
        return Verdict(denial if taken.admitted else TooManyFailures(taken))

    def _charged(self, admit: Admit, charges: Charges, key: KeyRecord | None, taken: Taken) -> Verdict:
        """Do what the limiter said."""
        if self._limiter_failed:
            self._limiter_failed = False
            self._local.forget_buckets()
        self._local.note(charges, taken)
        if taken.admitted:
            self._taken[0] += 1
            return Verdict(admit, key, taken)
        self._telemetry.add(metrics.LIMITER_CALLS, 1, "throttled")
        return Verdict(Throttled(taken), key, taken)

    def _charge_without_limiter(
        self, admit: Admit, charges: Charges, key: KeyRecord | None, snapshot: Snapshot
    ) -> Verdict:
        """Do what the configuration says while Redis is away: `local`, `open` or `closed` (contract section 4)."""
        if snapshot.on_limiter_error == "closed":
            self._telemetry.add(metrics.LIMITER_CALLS, 1, "failed")
            return Verdict(LimiterUnavailable(), key)
        if snapshot.on_limiter_error == "open":
            self._telemetry.add(metrics.LIMITER_CALLS, 1, "passed")
            return Verdict(admit, key)
        self._telemetry.add(metrics.LIMITER_CALLS, 1, "local")
        taken = self._local.take_now(charges)
        return Verdict(admit if taken.admitted else Throttled(taken), key, taken)


def _admission(cached: CachedKey, route: Route, snapshot: Snapshot) -> Admit:
    """Make the admission of a key on a route, once for each cached key, route and snapshot."""
    admit = admission(cached.record, route, snapshot.algorithm, announced=snapshot.limits_announced)
    cached.derived[route.name] = (snapshot, admit)
    return admit
