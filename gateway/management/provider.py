"""Tokens of an outside identity provider: JWTs that we did not issue, checked as RFC 8725 wants it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import jwt

from gateway.management.refusals import account_unknown
from gateway.management.tokens import CLOCK_SKEW_S, FORM, Session

if TYPE_CHECKING:
    from gateway.management.provider_keys import ProviderKeys

ADMIN: Final = "admin"

_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
"""What `typ` may say: a token that was made for another purpose, such as a logout, is none (RFC 8725 section 3.11)."""
_TEXT_MAX_CHARACTERS: Final = 255


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token has to say, and in which claims it names account and roles."""

    issuer: str
    audience: str
    account_claim: str
    role_claim: str | None = None


class ProviderTokens:
    """Verifies the tokens of one identity provider."""

    def __init__(self, keys: ProviderKeys, claims: Claims) -> None:
        """Take the provider's keys, and what its tokens say."""
        self._keys = keys
        self._claims = claims

    def issued(self, token: str) -> bool:
        """Say whether *token* claims to be the provider's; nothing of it has been verified then."""
        return unverified_issuer(token) == self._claims.issuer

    async def verify(self, token: str, now: float) -> Session | None:
        """Give the session of *token*, None when it is not valid now.

        Raises Refused with 403 when it is genuine and names no account, and IdentityProviderDown. The algorithm is
        the key's, never the token's; addresses and keys in its header (`jku`, `x5u`, `jwk`) are never used, and an
        extension that must be understood (`crit`) is not.
        """
        header = _header(token)
        if header is None or not isinstance(header.get("kid"), str):
            return None
        key = await self._keys.find(header["kid"])
        if key is None:
            return None
        required = ["iss", "aud", "sub", "exp"]
        try:
            # The times are compared below, with the clock that the whole request is judged by.
            claims = jwt.decode(
                token,
                key.public_key,
                key.algorithms,
                {"require": required, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
                audience=self._claims.audience,
                issuer=self._claims.issuer,
            )
        except jwt.PyJWTError:
            return None
        return self._session(claims) if _in_time(claims, now) else None

    def _session(self, claims: dict[str, Any]) -> Session | None:
        if not _is_text(claims["sub"]):
            return None
        account_id = claims.get(self._claims.account_claim)
        if not _is_text(account_id):
            message = f'The token names no account: its claim "{self._claims.account_claim}" is missing or not a text'
            raise account_unknown(message)
        roles = None if self._claims.role_claim is None else claims.get(self._claims.role_claim)
        admin = roles == ADMIN or (isinstance(roles, list) and ADMIN in roles)
        # Marked as the provider's, so that the audit log never takes one of its subjects for a user of ours.
        return Session(f"external:{claims['sub']}", account_id, ADMIN if admin else "member")


def unverified_issuer(token: str) -> str | None:
    """Say whom *token* claims to come from, None when it cannot be read."""
    if FORM.fullmatch(token) is None:
        return None
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        return None
    issuer = claims.get("iss")
    return issuer if isinstance(issuer, str) else None


def _header(token: str) -> dict[str, Any] | None:
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        return None
    purpose = header.get("typ", "JWT")
    fits = isinstance(purpose, str) and purpose.lower() in _TYPES
    return header if fits and "crit" not in header else None


def _in_time(claims: dict[str, Any], now: float) -> bool:
    """Compare the times; providers may write fractions (RFC 7519 section 2), and may leave out all but the end."""
    ends, begins, issued = claims["exp"], claims.get("nbf", 0), claims.get("iat", 0)
    if not all(_is_time(time) for time in (ends, begins, issued)):
        return False
    return bool(max(begins, issued) - CLOCK_SKEW_S <= now < ends)


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 1 <= len(value) <= _TEXT_MAX_CHARACTERS and value.isprintable()
