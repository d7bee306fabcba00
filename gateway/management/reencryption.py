"""Replacing the key that encrypts secrets at rest: every secret is read with the key it names and sealed with the new.

Small transactions, each of which leaves everything readable: it can be stopped and run again at any time, beside
gateways that serve.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.adapters.postgres.sealed_secrets import (
    PLACES,
    Place,
    StoredSecret,
    count_by_key,
    lock_others,
    replace_secrets,
)
from gateway.adapters.secrets.encryption import Sealed, SecretUnreadable
from gateway.ports import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.adapters.postgres.connection import Connection
    from gateway.adapters.secrets.encryption import Encryption

BATCH: Final = 500
UNREADABLE_MAX: Final = 100
"""Secrets that are damaged and told by name."""


class UnknownSecretKey(Fault):
    """Secrets were encrypted with keys that are not in the settings; *numbers* says how many with each."""

    code = "unknown_secret_key"

    def __init__(self, numbers: dict[str, int]) -> None:
        """Say what to do."""
        found = " and ".join(f"{number} with the key {key_id}" for key_id, number in numbers.items())
        super().__init__(f"secrets are encrypted {found}, which is not in the settings; add it to secrets.previous")


@dataclass(slots=True)
class Reencrypted:
    """How many secrets got the new key, by the word for their place, and the owners of those that are damaged."""

    numbers: dict[str, int] = field(default_factory=lambda: dict.fromkeys((place.owner for place in PLACES), 0))
    unreadable: list[str] = field(default_factory=list)


async def survey(connection: Connection, encryption: Encryption) -> dict[str, dict[str, int]]:
    """Say how many secrets each key has encrypted, by place; raises UnknownSecretKey when one of them is not known."""
    numbers: dict[str, dict[str, int]] = {place.owner: {} for place in PLACES}
    for place in PLACES:
        found = numbers[place.owner]
        for key_id, number in (await count_by_key(connection, place)).items():
            found[key_id] = found.get(key_id, 0) + number
    unknown: dict[str, int] = {}
    for by_key in numbers.values():
        for key_id, number in by_key.items():
            if not encryption.knows(key_id):
                unknown[key_id] = unknown.get(key_id, 0) + number
    if unknown:
        raise UnknownSecretKey(unknown)
    return numbers


async def reencrypt(
    connection: Connection, encryption: Encryption, done: Reencrypted, on_batch: Callable[[], None]
) -> None:
    """Seal every secret with the key of *encryption*, counting in *done*, and call *on_batch* after each transaction.

    Raises UnknownSecretKey before anything is changed.
    """
    await survey(connection, encryption)
    for place in PLACES:
        after = ""
        while True:
            async with connection.transaction():
                found = await lock_others(connection, place, encryption.key_id, after, BATCH)
                renewed = [secret for old in found if (secret := _renewed(encryption, place, old, done)) is not None]
                if renewed:
                    await replace_secrets(connection, place, renewed)
            if not found:
                break
            after = found[-1].id
            done.numbers[place.owner] += len(renewed)
            on_batch()


def _renewed(encryption: Encryption, place: Place, old: StoredSecret, done: Reencrypted) -> StoredSecret | None:
    owner = f"{place.owner}:{old.id}"
    try:
        sealed = encryption.seal(encryption.open(Sealed(old.key_id, old.ciphertext), owner), owner)
    except SecretUnreadable:
        # It was lost before; the others must not wait for it.
        if len(done.unreadable) < UNREADABLE_MAX:
            done.unreadable.append(owner)
        return None
    return StoredSecret(old.id, sealed.key_id, sealed.ciphertext)
