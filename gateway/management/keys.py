"""Keys as their owners manage them: create, list, read, change, delete and rotate (contract section 3).

Whoever is logged in sees the keys of one account, and an `admin` those of all; what is not seen is 404.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog

from gateway.adapters.postgres.accounts import NoSuchAccount
from gateway.adapters.postgres.audit import act_as
from gateway.adapters.postgres.key_lists import list_keys
from gateway.adapters.postgres.keys import IllegalStatus, delete_key, get_key, rotate_key
from gateway.core.answers import Answer, json_answer
from gateway.core.webhook_secrets import show_secret
from gateway.management.bodies import checked, read_body, read_json, read_query
from gateway.management.idempotency import Done, Idempotency, read_repeatable
from gateway.management.key_access import actor_of, key_id_of, visible_account
from gateway.management.key_bodies import CreateBody, PageQuery, RotateBody, RotateWebhookSecretBody, Rules, UpdateBody
from gateway.management.key_changes import change_key, make_key, rotate_webhook_secret
from gateway.management.key_views import pagination, shown, shown_once
from gateway.management.refusals import conflict, invalid, no_such_key, not_logged_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from gateway.adapters.postgres.connection import Connection
    from gateway.adapters.postgres.keys import CreatedKey, StoredKey
    from gateway.adapters.postgres.pool import Database
    from gateway.adapters.secrets.encryption import Encryption
    from gateway.core.answers import Asked
    from gateway.management.sessions import Sessions
    from gateway.management.tokens import Session

log = structlog.get_logger()


class KeyAnswers:
    """Answers /api-keys and everything under it. Each answer may raise Refused and DatabaseDown."""

    def __init__(self, database: Database, sessions: Sessions, encryption: Encryption, *, allow_private: bool) -> None:
        """Take the collaborators; *allow_private* lets webhooks be plain http and private, for development."""
        self._database = database
        self._sessions = sessions
        self._encryption = encryption
        self._idempotency = Idempotency(encryption)
        self._allow_private = allow_private

    async def create(self, asked: Asked) -> Answer:
        """Answer POST /api-keys: 201 with the key, which is shown this once."""
        session = await self._sessions.session(asked)
        value = read_json(asked)

        async def work(connection: Connection) -> Done:
            body = checked(value, CreateBody, self._rules(asked, session))
            created, secret = await self._make(connection, asked, session, body)
            return Done(created.stored.id, json_answer(201, _for(session, created.stored, shown_once(created, secret))))

        return await self._once("key created", asked, session, value, work)

    async def page(self, asked: Asked) -> Answer:
        """Answer GET /api-keys: a page of keys, newest first."""
        session = await self._sessions.session(asked)
        query = read_query(asked, PageQuery)
        async with self._database.connection() as connection:
            found = await list_keys(
                connection,
                visible_account(session) or query.account_id,
                page=query.page,
                limit=query.limit,
                status=query.status,
                search=query.search,
            )
        data = [_for(session, key, shown(key)) for key in found.keys]
        return json_answer(200, {"data": data, "pagination": pagination(query.page, query.limit, found.total)})

    async def get(self, asked: Asked) -> Answer:
        """Answer GET /api-keys/{id}."""
        session = await self._sessions.session(asked)
        async with self._database.connection() as connection:
            key = await get_key(connection, key_id_of(asked), visible_account(session))
        if key is None:
            raise no_such_key()
        return json_answer(200, _for(session, key, shown(key)))

    async def update(self, asked: Asked) -> Answer:
        """Answer PUT /api-keys/{id}: what the body names is changed, and nothing else."""
        session = await self._sessions.session(asked)
        key_id = key_id_of(asked)
        body = read_body(asked, UpdateBody, self._rules(asked, session))
        async with self._changing(asked, session) as connection:
            try:
                changed = await change_key(connection, self._encryption, key_id, body, visible_account(session))
            except IllegalStatus as illegal:
                message = f"The API key is {illegal.current}, which is final"
                raise conflict(message) from None
            if changed is None:
                raise no_such_key()
        key, secret = changed
        _note("key changed", asked, session, key_id)
        view = _for(session, key, shown(key))
        return json_answer(200, view if secret is None else {**view, "webhookSecret": show_secret(secret)})

    async def delete(self, asked: Asked) -> Answer:
        """Answer DELETE /api-keys/{id}: 204, and the key is dead."""
        session = await self._sessions.session(asked)
        key_id = key_id_of(asked)
        async with self._changing(asked, session) as connection:
            if not await delete_key(connection, key_id, visible_account(session)):
                raise no_such_key()
        _note("key deleted", asked, session, key_id)
        return Answer(204)

    async def rotate(self, asked: Asked) -> Answer:
        """Answer POST /api-keys/{id}/rotate: a new secret; the old one works for the grace period."""
        session = await self._sessions.session(asked)
        key_id = key_id_of(asked)
        value = read_json(asked) if asked.body else {}

        async def work(connection: Connection) -> Done:
            body = checked(value, RotateBody, None)
            rotated = await _rotate(connection, asked, session, body)
            return Done(key_id, json_answer(200, _for(session, rotated.stored, shown_once(rotated, None))))

        return await self._once("key rotated", asked, session, value, work)

    async def rotate_webhook_secret(self, asked: Asked) -> Answer:
        """Answer POST /api-keys/{id}/webhook-secret/rotate: a new secret, shown this once; both sign for the grace."""
        session = await self._sessions.session(asked)
        key_id = key_id_of(asked)
        value = read_json(asked) if asked.body else {}

        async def work(connection: Connection) -> Done:
            body = checked(value, RotateWebhookSecretBody, None)
            visible = visible_account(session)
            rotated = await rotate_webhook_secret(connection, self._encryption, key_id, body, visible)
            if rotated is None:
                raise no_such_key()
            key, secret = rotated
            view = {**shown(key), "webhookSecret": show_secret(secret)}
            return Done(key_id, json_answer(200, _for(session, key, view)))

        return await self._once("webhook secret rotated", asked, session, value, work)

    async def _make(
        self, connection: Connection, asked: Asked, session: Session, body: CreateBody
    ) -> tuple[CreatedKey, bytes | None]:
        """Make a key for the session's account, or the one that an admin names."""
        owner = body.account_id or session.account_id
        prefix = asked.snapshot.key_format.prefixes[0]
        try:
            return await make_key(connection, self._encryption, body, account_id=owner, prefix=prefix)
        except NoSuchAccount:
            if body.account_id is None:
                raise not_logged_in(presented=True) from None
            raise invalid([("accountId", "is not an account")]) from None

    async def _once(
        self, event: str, asked: Asked, session: Session, value: Any, work: Callable[[Connection], Awaitable[Done]]
    ) -> Answer:
        """Do *work* in a transaction, or give its answer again when *asked* repeats a request by its idempotency key.

        The body is checked inside *work*, so that a repetition is not refused for a time that has passed since.
        """
        repeatable = read_repeatable(asked, session, value)
        async with self._changing(asked, session) as connection:
            if repeatable is None:
                done = await work(connection)
            else:
                done = await self._idempotency.once(connection, repeatable, work)
        if not done.replayed:
            _note(event, asked, session, done.key_id)
        return done.answer

    @asynccontextmanager
    async def _changing(self, asked: Asked, session: Session) -> AsyncIterator[Connection]:
        """Lend a connection with a transaction whose changes the audit log gives to the session's user."""
        async with self._database.connection() as connection, connection.transaction():
            await act_as(connection, actor_of(asked, session), for_transaction=True)
            yield connection

    def _rules(self, asked: Asked, session: Session) -> Rules:
        any_account = session.role == "admin"
        return Rules(asked.snapshot.scopes, asked.now, self._allow_private, any_account=any_account)


async def _rotate(connection: Connection, asked: Asked, session: Session, body: RotateBody) -> CreatedKey:
    """Give the key that *asked* names a new secret."""
    prefix = asked.snapshot.key_format.prefixes[0]
    visible = visible_account(session)
    try:
        rotated = await rotate_key(
            connection, key_id_of(asked), prefix=prefix, grace_s=body.grace_seconds, account_id=visible
        )
    except IllegalStatus as illegal:
        message = f"The API key is {illegal.current}, so it gets no new secret"
        raise conflict(message) from None
    if rotated is None:
        raise no_such_key()
    return rotated


def _for(session: Session, key: StoredKey, view: dict[str, Any]) -> dict[str, Any]:
    """Give *view* of *key* as the session is to see it: an admin also sees whose it is."""
    return {**view, "accountId": key.account_id} if session.role == "admin" else view


def _note(event: str, asked: Asked, session: Session, key_id: str) -> None:
    log.info(event, key_id=key_id, user_id=session.user_id, request_id=asked.request_id)
