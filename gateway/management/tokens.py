"""Login tokens: JWTs signed with EdDSA (RFC 7519, RFC 8037), issued at login and verified at each management call."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import jwt

from gateway.management.refusals import not_logged_in
from gateway.management.signing_keys import ALGORITHM

if TYPE_CHECKING:
    from gateway.core.answers import Asked
    from gateway.management.signing_keys import SigningKeys

CLOCK_SKEW_S: Final = 5
"""Seconds that the clock of an instance may be behind that of the one which issued a token."""

_FORM: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_BEARER: Final = re.compile(r"bearer +(\S+) *", re.IGNORECASE)
_HEADER: Final = frozenset({"alg", "kid", "typ"})
_CLAIMS: Final = ("iss", "aud", "sub", "account", "role", "iat", "nbf", "exp")


@dataclass(frozen=True, slots=True)
class Session:
    """Who is logged in: *role* is `member` or `admin`."""

    user_id: str
    account_id: str
    role: str


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
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at + self._lifetime_s,
        }
        token = jwt.encode(claims, signer.private_key, ALGORITHM, {"kid": signer.kid})
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

    async def session(self, asked: Asked) -> Session:
        """Give the session that *asked* comes with; raises Refused with 401, DatabaseDown."""
        authorization = asked.headers.get("Authorization", "")
        presented = _BEARER.fullmatch(authorization)
        if presented is None:
            raise not_logged_in(presented=False)
        session = await self.verify(presented[1], asked.now)
        if session is None:
            raise not_logged_in(presented=True)
        return session


def _kid(token: str) -> str | None:
    if _FORM.fullmatch(token) is None:
        return None
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, RecursionError):
        return None
    return header.get("kid") if header.keys() <= _HEADER else None


def _in_time(claims: dict[str, Any], now: float) -> bool:
    begins, ends = claims["nbf"], claims["exp"]
    return isinstance(begins, int) and isinstance(ends, int) and begins - CLOCK_SKEW_S <= now < ends


def _session(claims: dict[str, Any]) -> Session | None:
    values = claims["sub"], claims["account"], claims["role"]
    return Session(*values) if all(isinstance(value, str) for value in values) else None
