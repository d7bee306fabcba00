"""The keys of the identity provider: fetched when needed, kept for a while, and used on while the provider is away.

All who need a fetch wait for the same one. Keys that are only old serve on while they are fetched again, so a provider
that is slow or away costs nobody time.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from gateway.adapters.identity.jwks import IdentityProviderDown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

FETCH_AGAIN_S: Final = 10.0
"""Seconds between two fetches for the sake of a key that is not known: it may be new, and it may be made up."""
RETRY_S: Final = 2.0
"""Seconds between two fetches while the provider is away."""
RSA_BITS_MIN: Final = 2048

_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """A public key, and the algorithms that it is believed with: those of its kind, or the one that its JWK names."""

    algorithms: tuple[str, ...]
    public_key: PublicKey = field(repr=False)


class ProviderKeys:
    """The keys by their `kid`. Every key may be used for *ttl_s*, and *max_stale_s* more while none can be fetched."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Sequence[Mapping[str, Any]]]],
        clock: Callable[[], float],
        *,
        ttl_s: float,
        max_stale_s: float,
    ) -> None:
        """Take *fetch*, which raises IdentityProviderDown; *clock* gives seconds that never go back."""
        self._fetch = fetch
        self._clock = clock
        self._ttl_s = ttl_s
        self._max_stale_s = max_stale_s
        self._keys: dict[str, ProviderKey] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._failure: str | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str) -> ProviderKey | None:
        """Give the key called *kid*, None if the provider has none.

        Raises IdentityProviderDown when it cannot be asked: a key that is not known here may be new.
        """
        age_s = self._clock() - self._fetched_at
        known = self._keys.get(kid) if age_s <= self._ttl_s + self._max_stale_s else None
        if known is not None:
            if age_s > self._ttl_s:
                self._fetch_unless_just_done()
            return known
        fetching = self._fetch_unless_just_done()
        if fetching is not None:
            # Shielded: the others wait for it too.
            await asyncio.shield(fetching)
        if self._failure is not None:
            raise IdentityProviderDown(self._failure)
        return self._keys.get(kid)

    async def close(self) -> None:
        """End a fetch that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._fetching

    def _fetch_unless_just_done(self) -> asyncio.Task[None] | None:
        """Give the fetch that is under way, begun now unless the last one is too recent."""
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        pause_s = FETCH_AGAIN_S if self._failure is None else RETRY_S
        if self._clock() - self._tried_at < pause_s:
            return None
        self._fetching = asyncio.get_running_loop().create_task(self._renew(), name="identity provider's keys")
        return self._fetching

    async def _renew(self) -> None:
        try:
            keys = usable_keys(await self._fetch())
            if not keys:
                message = "the JWK set has no key that can be used"
                raise IdentityProviderDown(message)
        except IdentityProviderDown as fault:
            self._failure = str(fault)
            log.warning("identity provider away", reason=self._failure)
        else:
            self._keys, self._failure, self._fetched_at = keys, None, self._clock()
        finally:
            self._tried_at = self._clock()


def usable_keys(members: Sequence[Mapping[str, Any]]) -> dict[str, ProviderKey]:
    """Give the keys among *members* of a JWK set that can verify; the first of a name counts, and the rest is ignored.

    Only public keys of asymmetric algorithms are: a secret taken from a public place proves nothing.
    """
    found: dict[str, ProviderKey] = {}
    for member in members:
        kid = member.get("kid")
        if isinstance(kid, str) and kid not in found and (key := _usable(member)) is not None:
            found[kid] = key
    return found


def _usable(member: Mapping[str, Any]) -> ProviderKey | None:
    if member.get("kty") not in {"RSA", "EC", "OKP"} or member.get("use", "sig") != "sig":
        return None
    try:
        # The `alg` is judged below: what it says is allowed only if it fits the key.
        public_key = jwt.PyJWK({name: value for name, value in member.items() if name != "alg"}).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None
    algorithms = _algorithms(public_key)
    if "alg" in member:
        algorithms = tuple(algorithm for algorithm in algorithms if algorithm == member["alg"])
    return ProviderKey(algorithms, public_key) if algorithms else None


def _algorithms(key: object) -> tuple[str, ...]:
    match key:
        case RSAPublicKey():
            return _RSA if key.key_size >= RSA_BITS_MIN else ()
        case EllipticCurvePublicKey():
            return (_CURVES[key.curve.name],) if key.curve.name in _CURVES else ()
        case Ed25519PublicKey():
            return ("EdDSA",)
        case _:
            return ()
