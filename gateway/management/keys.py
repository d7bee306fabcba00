"""Keys as their owners manage them: create, list, read, change, delete and rotate (contract section 3).

Whoever is logged in sees the keys of one account, and an `admin` those of all; what is not seen is 404.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from gateway.adapters.postgres.accounts import NoSuchAccount
from gateway.adapters.postgres.keys import (
    IllegalStatus,
    NewKey,
    create_key,
    delete_key,
    get_key,
    list_keys,
    new_key_id,
    rotate_key,
    update_key,
)
from gateway.adapters.postgres.webhook_secrets import lacks_webhook_secret
from gateway.core.answers import Answer, json_answer
from gateway.management.bodies import read_body, read_query
from gateway.management.key_bodies import CreateBody, PageQuery, RotateBody, Rules, UpdateBody
from gateway.management.key_views import shown, shown_once
from gateway.management.refusals import conflict, no_such_key, not_logged_in
from gateway.management.webhook_secrets import new_secret, show_secret

if TYPE_CHECKING:
    from gateway.adapters.postgres.connection import Connection
    from gateway.adapters.postgres.keys import StoredKey
    from gateway.adapters.postgres.pool import Database
    from gateway.adapters.secrets.encryption import Encryption
    from gateway.core.answers import Asked
    from gateway.management.tokens import Session, SessionTokens

log = structlog.get_logger()


class KeyAnswers:
    """Answers /api-keys and everything under it. Each answer may raise Refused and DatabaseDown."""

    def __init__(
        self, database: Database, tokens: SessionTokens, encryption: Encryption, *, allow_private: bool
    ) -> None:
        """Take the collaborators; *allow_private* lets webhooks be plain http and private, for development."""
        self._database = database
        self._tokens = tokens
        self._encryption = encryption
        self._allow_private = allow_private

    async def create(self, asked: Asked) -> Answer:
        """Answer POST /api-keys: 201 with the key, which is shown this once."""
        session = await self._tokens.session(asked)
        body = read_body(asked, CreateBody, self._rules(asked))
        key_id = new_key_id()
        secret = body.webhook_secret
        if secret is None and body.webhook_url is not None:
            secret = new_secret()
        new = NewKey(
            id=key_id,
            account_id=session.account_id,
            prefix=asked.snapshot.key_format.prefixes[0],
            **body.columns(),
            **self._sealed(key_id, secret),
        )
        async with self._database.connection() as connection:
            try:
                created = await create_key(connection, new)
            except NoSuchAccount:
                raise not_logged_in(presented=True) from None
        _note("key created", asked, session, key_id)
        return json_answer(201, shown_once(created, secret))

    async def page(self, asked: Asked) -> Answer:
        """Answer GET /api-keys: a page of keys, newest first."""
        session = await self._tokens.session(asked)
        query = read_query(asked, PageQuery)
        async with self._database.connection() as connection:
            found = await list_keys(
                connection,
                _visible(session),
                page=query.page,
                limit=query.limit,
                status=query.status,
                search=query.search,
            )
        pagination = {
            "page": query.page,
            "limit": query.limit,
            "total": found.total,
            "hasMore": query.page * query.limit < found.total,
        }
        return json_answer(200, {"data": [shown(key) for key in found.keys], "pagination": pagination})

    async def get(self, asked: Asked) -> Answer:
        """Answer GET /api-keys/{id}."""
        session = await self._tokens.session(asked)
        async with self._database.connection() as connection:
            key = await get_key(connection, _key_id(asked), _visible(session))
        if key is None:
            raise no_such_key()
        return json_answer(200, shown(key))

    async def update(self, asked: Asked) -> Answer:
        """Answer PUT /api-keys/{id}: what the body names is changed, and nothing else."""
        session = await self._tokens.session(asked)
        key_id = _key_id(asked)
        body = read_body(asked, UpdateBody, self._rules(asked))
        changes, secret = body.columns(), body.webhook_secret
        changes |= self._sealed(key_id, secret)
        async with self._database.connection() as connection, connection.transaction():
            try:
                key = await _change(connection, key_id, changes, session)
            except IllegalStatus as illegal:
                message = f"The API key is {illegal.current}, which is final"
                raise conflict(message) from None
            if secret is None and changes.get("webhook_url") and await lacks_webhook_secret(connection, key_id):
                secret = new_secret()
                await update_key(connection, key_id, self._sealed(key_id, secret))
        _note("key changed", asked, session, key_id)
        view = shown(key)
        return json_answer(200, view if secret is None else {**view, "webhookSecret": show_secret(secret)})

    async def delete(self, asked: Asked) -> Answer:
        """Answer DELETE /api-keys/{id}: 204, and the key is dead."""
        session = await self._tokens.session(asked)
        key_id = _key_id(asked)
        async with self._database.connection() as connection:
            if not await delete_key(connection, key_id, _visible(session)):
                raise no_such_key()
        _note("key deleted", asked, session, key_id)
        return Answer(204)

    async def rotate(self, asked: Asked) -> Answer:
        """Answer POST /api-keys/{id}/rotate: a new secret; the old one works for the grace period."""
        session = await self._tokens.session(asked)
        key_id = _key_id(asked)
        body = read_body(asked, RotateBody) if asked.body else RotateBody()
        prefix = asked.snapshot.key_format.prefixes[0]
        async with self._database.connection() as connection:
            try:
                rotated = await rotate_key(
                    connection, key_id, prefix=prefix, grace_s=body.grace_seconds, account_id=_visible(session)
                )
            except IllegalStatus as illegal:
                message = f"The API key is {illegal.current}, so it gets no new secret"
                raise conflict(message) from None
        if rotated is None:
            raise no_such_key()
        _note("key rotated", asked, session, key_id)
        return json_answer(200, shown_once(rotated, None))

    def _rules(self, asked: Asked) -> Rules:
        return Rules(asked.snapshot.scopes, asked.now, self._allow_private)

    def _sealed(self, key_id: str, secret: bytes | None) -> dict[str, Any]:
        """Give the columns of an encrypted webhook secret, none without a *secret*."""
        if secret is None:
            return {}
        sealed = self._encryption.seal(secret, f"webhook:{key_id}")
        return {"webhook_secret": sealed.ciphertext, "webhook_secret_key_id": sealed.key_id}


async def _change(connection: Connection, key_id: str, changes: dict[str, Any], session: Session) -> StoredKey:
    """Make *changes* to a key that the session sees; a body that changes nothing leaves even the time of change."""
    visible = _visible(session)
    if changes:
        key = await update_key(connection, key_id, changes, visible)
    else:
        key = await get_key(connection, key_id, visible)
    if key is None:
        raise no_such_key()
    return key


def _visible(session: Session) -> str | None:
    """Give the account whose keys the session sees, None for all."""
    return None if session.role == "admin" else session.account_id


def _key_id(asked: Asked) -> str:
    """Give the id in the path; raises Refused for one that no key can have."""
    key_id = asked.segments[1]
    if not key_id.isascii() or not key_id.isprintable():
        raise no_such_key()
    return key_id


def _note(event: str, asked: Asked, session: Session, key_id: str) -> None:
    log.info(event, key_id=key_id, user_id=session.user_id, request_id=asked.request_id)
