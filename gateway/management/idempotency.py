"""Idempotency keys: a request that is repeated with the same key is answered as before, and done only once.

The record is claimed, the work is done and the answer is kept in one transaction, so a request that failed leaves
nothing, and of two at the same time the second waits for the first (contract section 3).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.adapters.postgres.idempotency import (
    IdempotencyName,
    IdempotencyRecord,
    StillRunning,
    claim,
    keep,
)
from gateway.adapters.secrets.encryption import Sealed, SecretUnreadable
from gateway.core.answers import JSON_TYPE, Answer
from gateway.core.denials import RETRY_SOON_S, Refusal
from gateway.management.refusals import Refused, conflict, invalid

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.adapters.postgres.connection import Connection
    from gateway.adapters.secrets.encryption import Encryption
    from gateway.core.answers import Asked
    from gateway.management.tokens import Session

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = ("Idempotency-Replayed", "true")

_FORM: Final = re.compile(r"[ -~]{1,255}")


@dataclass(frozen=True, slots=True)
class Repeatable:
    """A request that may be repeated: its *name* in the records, and the SHA-256 of *what* it asks for, in hex."""

    name: IdempotencyName
    what: str


@dataclass(frozen=True, slots=True)
class Done:
    """Work that is done on the key *key_id*: its answer, and whether it was done before."""

    key_id: str
    answer: Answer
    replayed: bool = False


def read_repeatable(asked: Asked, session: Session, value: Any) -> Repeatable | None:
    """Give what *asked*, whose JSON is *value*, is known by when it comes again; None without an Idempotency-Key.

    Records belong to an account, so that nobody reads another's answers, and to the single user where that is an
    admin: what an admin was answered may be of an account that the others of the admin's own do not see.
    Raises Refused with 422 for a key that cannot be one.
    """
    keys = [text for name, text in asked.headers.items() if name.lower() == HEADER.lower()]
    if not keys:
        return None
    if len(keys) > 1 or _FORM.fullmatch(keys[0]) is None:
        raise invalid([(HEADER, "must be given once, with 1 to 255 printable ASCII characters")])
    scope = f"user:{session.user_id}" if session.role == "admin" else f"account:{session.account_id}"
    wanted = json.dumps([asked.segments, value], sort_keys=True)
    return Repeatable(IdempotencyName(scope, asked.route.name, keys[0]), hashlib.sha256(wanted.encode()).hexdigest())


class Idempotency:
    """Does work once for each idempotency key, and keeps its answers encrypted: a key may be in them."""

    def __init__(self, encryption: Encryption) -> None:
        """Take what encrypts."""
        self._encryption = encryption

    async def once(
        self, connection: Connection, repeatable: Repeatable, work: Callable[[Connection], Awaitable[Done]]
    ) -> Done:
        """Do *work*, or give the answer that it had, inside the transaction that is open on *connection*.

        Raises Refused with 422 for another request under a known key, and 409 when the answer is not kept any more, or
        not there yet.
        """
        try:
            record = await claim(connection, repeatable.name)
        except StillRunning:
            raise _still_running() from None
        if record is not None:
            return self._replayed(repeatable, record)
        done = await work(connection)
        sealed = self._encryption.seal(_packed(repeatable, done.answer), _owner(repeatable.name))
        await keep(connection, repeatable.name, IdempotencyRecord(done.key_id, sealed.ciphertext, sealed.key_id))
        return done

    def _replayed(self, repeatable: Repeatable, record: IdempotencyRecord) -> Done:
        if record.answer is None or record.answer_key_id is None:
            raise _too_late(record.key_id)
        try:
            packed = self._encryption.open(Sealed(record.answer_key_id, record.answer), _owner(repeatable.name))
        except SecretUnreadable:  # secrets.key was replaced since.
            raise _too_late(record.key_id) from None
        kept = json.loads(packed)
        if kept["what"] != repeatable.what:
            raise invalid([(HEADER, "was used for another request; use a new one for each")])
        answer = Answer(kept["status"], base64.b64decode(kept["body"]), (JSON_TYPE, REPLAYED))
        return Done(record.key_id, answer, replayed=True)


def _packed(repeatable: Repeatable, answer: Answer) -> bytes:
    # What was asked is inside as well: its digest alone would let a guess at a given webhook secret be tried.
    body = base64.b64encode(answer.body).decode()
    return json.dumps({"what": repeatable.what, "status": answer.status, "body": body}).encode()


def _owner(name: IdempotencyName) -> str:
    return f"idempotency:{json.dumps([name.scope, name.operation, name.key])}"


def _too_late(key_id: str) -> Refused:
    message = f"This {HEADER} was used before, for the API key {key_id}, and its answer is not kept any more"
    return conflict(message, {"id": key_id})


def _still_running() -> Refused:
    message = f"A request with this {HEADER} is being carried out. Try again in {RETRY_SOON_S} second"
    retry_after = (("Retry-After", str(RETRY_SOON_S)),)
    return Refused(Refusal(409, "conflict", message, None, retry_after))
