"""Signed identity: who asks, as a JWT that an upstream verifies with our JWK set, and need not trust its network for.

It says who, not what: it is not made for one request, because a signature for each would cost more than everything
else that a request takes. One is made for a key and an upstream, and goes with their requests for half of its life. So
whoever steals one may pass for that key, towards that upstream, until it ends; upstreams keep it as a secret.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import jwt
import structlog

from gateway.management.signing_keys import ALGORITHM

if TYPE_CHECKING:
    from gateway.core.decision import Principal
    from gateway.management.signing_keys import Signer, SigningKeys

log = structlog.get_logger()

TYPE: Final = "gateway-identity+jwt"
"""What these tokens are, in `typ` (RFC 8725 section 3.11): no login token, which is signed with the same keys."""
LOOK_S: Final = 5.0
"""Seconds between two questions for the key to sign with, which is read from Postgres much less often."""
RETRY_S: Final = 1.0
"""Seconds until the next try while there is no key."""
HELD_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Held:
    principal: Principal
    renew_at: float
    line: bytes


class IdentityTokens:
    """Signs who asks, with a key that is in hand before it is needed: no request waits for Postgres."""

    def __init__(self, keys: SigningKeys, issuer: str, lifetime_s: int) -> None:
        """Take the signing keys, what tokens say in `iss`, and how many seconds they last."""
        self._keys = keys
        self._issuer = issuer
        self._lifetime_s = lifetime_s
        self._signer: Signer | None = None
        self._wanted = asyncio.Event()
        self._held: dict[tuple[str, str], _Held] = {}
        self._why = ""

    @property
    def missing(self) -> str | None:
        """Say what it means that there is no key to sign with although one is wanted; None if all is well."""
        if self._signer is not None or not self._wanted.is_set():
            return None
        return "no key to sign identities with; requests that need one get 503"

    def line(self, principal: Principal, audience: str, now: float) -> bytes | None:
        """Give the header line that tells *audience* who asks, None while there is no key to sign it with."""
        name = (principal.key_id, audience)
        held = self._held.get(name)
        if held is not None and now < held.renew_at and held.principal == principal:
            return held.line
        signer = self._signer
        if signer is None:
            self._wanted.set()
            return None
        if len(self._held) >= HELD_MAX:
            self._held.clear()
        line = b"X-Gateway-Identity: %b\r\n" % self._sign(signer, principal, audience, int(now)).encode("ascii")
        self._held[name] = _Held(principal, now + self._lifetime_s / 2, line)
        return line

    def _sign(self, signer: Signer, principal: Principal, audience: str, now: int) -> str:
        claims = {
            "iss": self._issuer,
            "aud": audience,
            "sub": principal.account_id,
            "key_id": principal.key_id,
            "scope": " ".join(principal.scopes),
            "iat": now,
            "exp": now + self._lifetime_s,
        }
        return jwt.encode(claims, signer.private_key, ALGORITHM, {"kid": signer.kid, "typ": TYPE})

    async def prepare(self) -> None:
        """Have the right key in hand if that can be now; without any `line` gives nothing."""
        self._wanted.set()
        why = ""
        try:
            self._signer = await self._keys.signer()
        except Exception as error:  # noqa: BLE001  # whatever it is, only requests that need a signature suffer from it
            # The one that is in hand goes on: whether it still counts is said by the JWK set, not by us.
            why = str(error) or type(error).__name__
        if why and why != self._why:
            log.warning("signing key not read", reason=why, signs=not self.missing)
        self._why = why

    async def run(self) -> None:
        """Keep the key in hand the one that is to be signed with, from the first time that one is wanted."""
        await self._wanted.wait()
        while True:
            await self.prepare()
            await asyncio.sleep(RETRY_S if self._signer is None else LOOK_S)
