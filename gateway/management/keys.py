"""Keys as their owners manage them: create, list, read, change, delete and rotate (contract section 3).

Whoever is logged in sees the keys of one account, and an `admin` those of all; what is not seen is 404.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from gateway.adapters.postgres.accounts import NoSuchAccount
from gateway.adapters.postgres.keys import IllegalStatus, delete_key, get_key, list_keys, rotate_key
from gateway.core.answers import Answer, json_answer
from gateway.management.bodies import read_body, read_query
from gateway.management.key_bodies import CreateBody, PageQuery, RotateBody, Rules, UpdateBody
from gateway.management.key_changes import change_key, make_key
from gateway.management.key_views import shown, shown_once
from gateway.management.refusals import conflict, no_such_key, not_logged_in
from gateway.management.webhook_secrets import show_secret

if TYPE_CHECKING:
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
        prefix = asked.snapshot.key_format.prefixes[0]
        async with self._database.connection() as connection:
            try:
                created, secret = await make_key(
                    connection, self._encryption, body, account_id=session.account_id, prefix=prefix
                )
            except NoSuchAccount:
                raise not_logged_in(presented=True) from None
        _note("key created", asked, session, created.stored.id)
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
        async with self._database.connection() as connection:
            try:
                changed = await change_key(connection, self._encryption, key_id, body, _visible(session))
            except IllegalStatus as illegal:
                message = f"The API key is {illegal.current}, which is final"
                raise conflict(message) from None
        if changed is None:
            raise no_such_key()
        key, secret = changed
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
