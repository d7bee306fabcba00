"""Signing keys: the pairs that login tokens are signed and verified with, shared by all instances through Postgres.

An instance that cannot read the newest private key, because it runs with another `secrets.key`, makes one of its own:
tokens are verified with the public halves alone, so every instance accepts what every other has signed.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.adapters.postgres.signing_keys import (
    StoredSigningKey,
    add_signing_key,
    load_signing_keys,
    lock_signing_keys,
)
from gateway.adapters.secrets.encryption import Encryption, Sealed, SecretUnreadable
from gateway.ports import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.adapters.postgres.connection import Connection
    from gateway.adapters.postgres.pool import Database

log = structlog.get_logger()

ALGORITHM: Final = "EdDSA"
KNOWN_S: Final = 60.0
"""Seconds until the keys are read again, which ends the use of a withdrawn one."""
UNKNOWN_S: Final = 3.0
"""Seconds between two reads for the sake of a key that is not known: it may be new, and it may be made up."""


@dataclass(frozen=True, slots=True)
class Signer:
    """The pair that this instance signs with."""

    kid: str
    private_key: Ed25519PrivateKey = field(repr=False)


class SigningKeys:
    """The signing keys as this instance knows them."""

    def __init__(self, database: Database, encryption: Encryption) -> None:
        """Take the collaborators; nothing is read before it is needed."""
        self._database = database
        self._encryption = encryption
        self._public: dict[str, Ed25519PublicKey] = {}
        self._signer: Signer | None = None
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def signer(self) -> Signer:
        """Give the pair to sign with, made now if there is none; raises DatabaseDown."""
        if self._signer is None or self._age() > KNOWN_S:
            await self._read(make=True)
        assert self._signer is not None
        return self._signer

    async def public(self, kid: str) -> Ed25519PublicKey | None:
        """Give the public key called *kid*, None if there is none.

        A key that was known serves on while Postgres is away; raises DatabaseDown only for one that was not.
        """
        known = self._public.get(kid)
        if self._age() <= (UNKNOWN_S if known is None else KNOWN_S):
            return known
        try:
            await self._read(make=False)
        except (Fault, TimeoutError):
            if known is None:
                raise
            return known
        return self._public.get(kid)

    def _age(self) -> float:
        return asyncio.get_running_loop().time() - self._read_at

    async def _read(self, *, make: bool) -> None:
        asked_at = asyncio.get_running_loop().time()
        async with self._reading:
            if self._read_at >= asked_at and (self._signer is not None or not make):
                return
            async with self._database.connection() as connection:
                stored = await load_signing_keys(connection)
                if make and self._usable(stored) is None:
                    stored = await self._make_unless_made(connection)
            self._public = {key.kid: _public_key(key.public_jwk) for key in stored if key.algorithm == ALGORITHM}
            self._signer = self._usable(stored)
            self._read_at = asyncio.get_running_loop().time()

    async def _make_unless_made(self, connection: Connection) -> list[StoredSigningKey]:
        """Store a new key, unless another instance has done so since we looked."""
        async with connection.transaction():
            await lock_signing_keys(connection)
            stored = await load_signing_keys(connection)
            if self._usable(stored) is None:
                made = self._make()
                await add_signing_key(connection, made)
                stored.insert(0, made)
        return stored

    def _usable(self, stored: list[StoredSigningKey]) -> Signer | None:
        """Give the newest pair whose private half can be read here."""
        return next((signer for key in stored if (signer := self._open(key)) is not None), None)

    def _open(self, key: StoredSigningKey) -> Signer | None:
        if key.algorithm != ALGORITHM or not self._encryption.knows(key.secret_key_id):
            return None
        try:
            private = self._encryption.open(Sealed(key.secret_key_id, key.private_key), _owner(key.kid))
        except SecretUnreadable:
            log.error("signing key unreadable", kid=key.kid)  # noqa: TRY400  # the traceback says nothing more
            return None
        return Signer(key.kid, Ed25519PrivateKey.from_private_bytes(private))

    def _make(self) -> StoredSigningKey:
        kid = secrets.token_hex(8)
        private = Ed25519PrivateKey.generate()
        sealed = self._encryption.seal(private.private_bytes_raw(), _owner(kid))
        public = base64.urlsafe_b64encode(private.public_key().public_bytes_raw()).rstrip(b"=").decode()
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": public, "kid": kid, "alg": ALGORITHM, "use": "sig"}
        log.info("signing key made", kid=kid)
        return StoredSigningKey(kid, ALGORITHM, jwk, sealed.ciphertext, sealed.key_id)


def _owner(kid: str) -> str:
    return f"signing:{kid}"


def _public_key(jwk: Mapping[str, str]) -> Ed25519PublicKey:
    encoded = jwk["x"]
    return Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
