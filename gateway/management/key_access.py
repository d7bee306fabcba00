"""What every call about keys needs to know: which key, whose keys the session sees, and who is written down for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.adapters.postgres.audit import Actor
from gateway.management.refusals import no_such_key

if TYPE_CHECKING:
    from gateway.core.answers import Asked
    from gateway.management.tokens import Session


def visible_account(session: Session) -> str | None:
    """Give the account whose keys *session* sees, None for all."""
    return None if session.role == "admin" else session.account_id


def key_id_of(asked: Asked) -> str:
    """Give the id in the path of *asked*; raises Refused for one that no key can have."""
    key_id = asked.segments[1]
    if not key_id.isascii() or not key_id.isprintable():
        raise no_such_key()
    return key_id


def actor_of(asked: Asked, session: Session) -> Actor:
    """Give whom the audit log names for what *asked* changes."""
    return Actor("user", session.user_id, session.role, asked.client_address, asked.request_id)
