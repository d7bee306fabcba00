"""The throttle of logins: only failures count, in Redis for all instances, and in this worker while Redis is away.

What fails is noted in both places, so that losing Redis gives nobody a second helping of guesses at this worker. While
it is away N workers admit up to N times as many; nobody is locked out, and nobody guesses without limit.
"""

from __future__ import annotations

import contextlib
import hmac
import secrets
from typing import TYPE_CHECKING

import structlog

from gateway.core.attempts import Attempt, AttemptLimits, Ending, folded
from gateway.core.network import limiter_subject
from gateway.management.refusals import Refused, too_many_logins
from gateway.ports import LimiterDown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.core.answers import Asked
    from gateway.core.attempts import Exceeded
    from gateway.ports import LoginAttempts

log = structlog.get_logger()


class LoginThrottle:
    """Lets logins be tried as often as their failures allow."""

    def __init__(self, shared: LoginAttempts, local: LoginAttempts, secret: bytes, limits: AttemptLimits) -> None:
        """Take the attempts in Redis and those of this worker; *secret* keeps e-mails from being guessed in Redis."""
        self._shared = shared
        self._local = local
        self._secret = secret
        self._limits = limits

    @contextlib.asynccontextmanager
    async def attempt(self, asked: Asked, email: str) -> AsyncIterator[None]:
        """Try a login within: it succeeds when the block ends, and fails when the block refuses it.

        Any other fault leaves it unjudged. Raises Refused with 429 before the block when too many have failed; it looks
        the same whether the e-mail exists or not.
        """
        attempt = Attempt(secrets.token_hex(8), limiter_subject(asked.client_address), self._digest(email))
        exceeded = await self._begin(attempt)
        if exceeded is not None:
            raise too_many_logins(exceeded, self._limits.window_ms, asked.now)
        # Whoever hangs up before the answer has still guessed.
        ending = Ending.FAILED
        try:
            yield
            ending = Ending.SUCCEEDED
        except Refused:
            raise
        except Exception:
            ending = Ending.UNJUDGED
            raise
        finally:
            await self._end(attempt, ending)

    async def _begin(self, attempt: Attempt) -> Exceeded | None:
        try:
            return await self._shared.begin(attempt)
        except LimiterDown:
            log.warning("redis away, login attempts counted locally")
            return await self._local.begin(attempt)

    async def _end(self, attempt: Attempt, ending: Ending) -> None:
        await self._local.end(attempt, ending)
        with contextlib.suppress(LimiterDown):
            await self._shared.end(attempt, ending)

    def _digest(self, email: str) -> str:
        return hmac.digest(self._secret, f"login:{folded(email)}".encode(), "sha256").hex()[:32]
