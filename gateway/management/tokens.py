"""Login tokens: JWTs signed with EdDSA (RFC 7519, RFC 8037), issued at login and verified at each management call.

Whether the user may still use one is not told by the token, and asked in `sessions`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import jwt

from gateway.management.signing_keys import ALGORITHM

if TYPE_CHECKING:
    from gateway.management.signing_keys import SigningKeys

CLOCK_SKEW_S: Final = 5
"""Seconds that the clock of an instance may be behind that of the one which issued a token."""

FORM: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
TYPE: Final = "JWT"
_HEADER: Final = frozenset({"alg", "kid", "typ"})
_CLAIMS: Final = ("iss", "aud", "sub", "account", "role", "generation", "iat", "nbf", "exp")


@dataclass(frozen=True, slots=True)
class Session:
    """Who is logged in: *role* is `member` or `admin`.

    *generation* is how often all logins of the user had been ended when this one began.
    """

    user_id: str
    account_id: str
    role: str
    generation: int = 0


class SessionTokens:
    """Issues tokens, and verifies them."""

    def __init__(self, keys: SigningKeys, issuer: str, audience: str, lifetime_s: int) -> None:
        """Take the signing keys, what tokens say in `iss` and `aud`, and how many seconds they last."""
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._lifetime_s = lifetime_s

    async def issue(self, session: Session, now: float) -> tuple[str, int]:
        """Give a token for *session*, and how many seconds it lasts; raises DatabaseDown."""
        signer = await self._keys.signer()
        issued_at = int(now)
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": session.user_id,
            "account": session.account_id,
            "role": session.role,
            "generation": session.generation,
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at + self._lifetime_s,
        }
        token = jwt.encode(claims, signer.private_key, ALGORITHM, {"kid": signer.kid, "typ": TYPE})
        return token, self._lifetime_s

    async def verify(self, token: str, now: float) -> Session | None:
        """Give the session of *token*, None when it is not one of ours or not valid now; raises DatabaseDown.

        The algorithm is ours, never the token's; a header that asks for anything else (`jku`, `jwk`, `crit`) is refused
        (RFC 8725 sections 3.1 and 3.10).
        """
        kid = _kid(token)
        key = None if kid is None else await self._keys.public(kid)
        if key is None:
            return None
        try:
            # The times are compared below, with the clock that the whole request is judged by.
            claims = jwt.decode(
                token,
                key,
                [ALGORITHM],
                {"require": list(_CLAIMS), "verify_exp": False, "verify_nbf": False, "verify_iat": False},
                audience=self._audience,
                issuer=self._issuer,
            )
        except jwt.InvalidTokenError:
            return None
        return _session(claims) if _in_time(claims, now) else None


def _kid(token: str) -> str | None:
    if FORM.fullmatch(token) is None:
        return None
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, RecursionError):
        return None
    # The same keys sign other tokens, of another type.
    return header.get("kid") if header.keys() <= _HEADER and header.get("typ") == TYPE else None


def _in_time(claims: dict[str, Any], now: float) -> bool:
    issued, begins, ends = claims["iat"], claims["nbf"], claims["exp"]
    whole = all(isinstance(time, int) for time in (issued, begins, ends))
    return whole and max(issued, begins) - CLOCK_SKEW_S <= now < ends


def _session(claims: dict[str, Any]) -> Session | None:
    values, generation = (claims["sub"], claims["account"], claims["role"]), claims["generation"]
    if not all(isinstance(value, str) for value in values) or not isinstance(generation, int):
        return None
    return Session(*values, generation)
