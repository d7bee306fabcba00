"""Sessions: who asks, by the token that they come with, and whether they may still use it.

A token tells who somebody was when it was made. That the user is not disabled, has not had all logins ended and has
which role, or that the account exists, is asked of Postgres each time: a management call goes there anyway.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.adapters.postgres.accounts import account_exists, user_of_session
from gateway.management.refusals import account_unknown, not_logged_in
from gateway.management.tokens import Session

if TYPE_CHECKING:
    from gateway.adapters.postgres.pool import Database
    from gateway.core.answers import Asked
    from gateway.management.provider import ProviderTokens
    from gateway.management.tokens import SessionTokens

_BEARER: Final = re.compile(r"bearer +(\S+) *", re.IGNORECASE)


class Sessions:
    """Knows sessions by the tokens of the built-in login, if it is on, and of an identity provider, if there is one."""

    def __init__(self, database: Database, own: SessionTokens | None, provider: ProviderTokens | None) -> None:
        """Take the collaborators."""
        self._database = database
        self._own = own
        self._provider = provider

    async def session(self, asked: Asked) -> Session:
        """Give the session that *asked* comes with; raises Refused with 401 or 403, DatabaseDown, IdentityProviderDown.

        The token's issuer decides who verifies it, and both verify the issuer.
        """
        presented = _BEARER.fullmatch(asked.headers.get("Authorization", ""))
        if presented is None:
            raise not_logged_in(presented=False)
        token = presented[1]
        if self._provider is not None and self._provider.issued(token):
            return await self._of_provider(self._provider, token, asked.now)
        session = None if self._own is None else await self._own.verify(token, asked.now)
        if session is None:
            raise not_logged_in(presented=True)
        return await self._still_good(session)

    async def _of_provider(self, provider: ProviderTokens, token: str, now: float) -> Session:
        session = await provider.verify(token, now)
        if session is None:
            raise not_logged_in(presented=True)
        async with self._database.connection() as connection:
            if not await account_exists(connection, session.account_id):
                message = "The token names an account that does not exist here. Ask the operator to create it"
                raise account_unknown(message)
        return session

    async def _still_good(self, session: Session) -> Session:
        async with self._database.connection() as connection:
            user = await user_of_session(connection, session.user_id, session.generation)
        if user is None:
            raise not_logged_in(presented=True)
        return Session(user.id, user.account_id, user.role, session.generation)
