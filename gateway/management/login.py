"""Login: an e-mail and a password for a token (contract section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import structlog
from pydantic import AfterValidator, Field

from gateway.adapters.postgres.accounts import User, find_user, set_password_hash
from gateway.adapters.postgres.audit import act_as
from gateway.core.answers import json_answer
from gateway.management.bodies import Body, read_body
from gateway.management.key_access import actor_of
from gateway.management.passwords import PASSWORD_MAX_BYTES, PasswordsBusy
from gateway.management.refusals import wrong_credentials
from gateway.management.tokens import Session
from gateway.ports import Fault

if TYPE_CHECKING:
    from gateway.adapters.postgres.audit import Actor
    from gateway.adapters.postgres.pool import Database
    from gateway.core.answers import Answer, Asked
    from gateway.management.passwords import Passwords
    from gateway.management.throttle import LoginThrottle
    from gateway.management.tokens import SessionTokens

log = structlog.get_logger()

EMAIL_MAX_CHARACTERS: Final = 254


def short_enough(password: str) -> str:
    """Check that *password* is no longer than what is hashed; raises ValueError."""
    if len(password.encode()) > PASSWORD_MAX_BYTES:
        message = f"must have at most {PASSWORD_MAX_BYTES} bytes"
        raise ValueError(message)
    return password


class LoginBody(Body):
    """What POST /auth/login takes."""

    email: Annotated[str, Field(min_length=1, max_length=EMAIL_MAX_CHARACTERS, description="The user's e-mail.")]
    password: Annotated[
        str, Field(min_length=1, repr=False, description="The user's password."), AfterValidator(short_enough)
    ]


class Login:
    """Answers POST /auth/login."""

    def __init__(
        self, database: Database, passwords: Passwords, tokens: SessionTokens, throttle: LoginThrottle
    ) -> None:
        """Take the collaborators."""
        self._database = database
        self._passwords = passwords
        self._tokens = tokens
        self._throttle = throttle

    async def login(self, asked: Asked) -> Answer:
        """Answer with a token; unknown e-mail, wrong password and disabled user look alike and take the same time."""
        body = read_body(asked, LoginBody)
        # Before the password is looked at: guesses that are refused cost neither a query nor a hash.
        async with self._throttle.attempt(asked, body.email):
            user = await self._authenticated(body)
        session = Session(user.id, user.account_id, user.role, user.session_generation)
        token, expires_in = await self._tokens.issue(session, asked.now)
        await self._renew_hash(user, body.password, actor_of(asked, session))
        answer = {
            "token": token,
            "accessToken": token,
            "tokenType": "Bearer",
            "expiresIn": expires_in,
            "user": {"id": user.id, "email": user.email},
        }
        return json_answer(200, answer)

    async def _authenticated(self, body: LoginBody) -> User:
        """Give the user whose e-mail and password these are; raises Refused, DatabaseDown, PasswordsBusy."""
        async with self._database.connection() as connection:
            user = await find_user(connection, body.email)
        matches = await self._passwords.verify(None if user is None else user.password_hash, body.password)
        if user is None or not matches or user.disabled:
            raise wrong_credentials()
        return user

    async def _renew_hash(self, user: User, password: str, actor: Actor) -> None:
        """Hash *password* at the cost that is configured now. It can wait for another login, so nothing fails here."""
        if not self._passwords.outdated(user.password_hash):
            return
        try:
            renewed = await self._passwords.hash(password)
            async with self._database.connection() as connection, connection.transaction():
                await act_as(connection, actor, for_transaction=True)
                await set_password_hash(connection, user.id, renewed)
        except (Fault, TimeoutError, PasswordsBusy) as fault:
            log.warning("password hash not renewed", user_id=user.id, kind=type(fault).__name__)
