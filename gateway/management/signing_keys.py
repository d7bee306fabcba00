"""Signing keys: the pairs that login tokens are signed and verified with, in Postgres for all instances, or in a file.

An instance that cannot read the newest private key, because it runs with another `secrets.key`, makes one of its own:
tokens are verified with the public halves alone, so every instance accepts what every other has signed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.adapters.postgres.signing_keys import (
    StoredSigningKey,
    add_signing_key,
    end_other_signing_keys,
    load_signing_keys,
    lock_signing_keys,
)
from gateway.adapters.secrets.encryption import Encryption, Sealed, SecretUnreadable
from gateway.ports import Fault
from gateway.settings.key_files import read_key_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gateway.adapters.postgres.connection import Connection
    from gateway.adapters.postgres.pool import Database

log = structlog.get_logger()

ALGORITHM: Final = "EdDSA"
KNOWN_S: Final = 60.0
"""Seconds until the keys are read again, which ends the use of a withdrawn one."""
UNKNOWN_S: Final = 3.0
"""Seconds between two reads for the sake of a key that is not known: it may be new, and it may be made up."""
SETTLED_S: Final = 5.0
"""Seconds until a new key signs, if another one can: by then no instance takes it for made up. Above UNKNOWN_S."""
OVERLAP_S: Final = 120
"""Seconds beyond the life of a token that a replaced key verifies: an instance may sign with it for KNOWN_S more."""


@dataclass(frozen=True, slots=True)
class Signer:
    """The pair that this instance signs with."""

    kid: str
    private_key: Ed25519PrivateKey = field(repr=False)


class SigningKeys(Protocol):
    """What tokens are signed and verified with."""

    async def signer(self) -> Signer:
        """Give the pair to sign with; raises DatabaseDown."""
        ...

    async def public(self, kid: str) -> Ed25519PublicKey | None:
        """Give the public key called *kid*, None if there is none; raises DatabaseDown."""
        ...

    async def published(self) -> Sequence[Mapping[str, str]]:
        """Give all public keys as JWKs (RFC 8037); raises DatabaseDown."""
        ...


class FileSigningKeys:
    """The signing keys of a file; the name of each is its thumbprint (RFC 7638), the same in every instance."""

    def __init__(self, path: Path) -> None:
        """Read the file; raises ValueError."""
        self._path = path
        self._read()
        self.follow()

    def _read(self) -> None:
        private, public = read_key_file(self._path)
        self._next = Signer(_thumbprint(private.public_key()), private), {_thumbprint(key): key for key in public}

    async def prepare(self, _: object) -> None:
        """Read the file again, for a reload that may still be given up; raises ValueError."""
        self._read()

    def follow(self) -> None:
        """Sign and verify with what was read last."""
        self._signer, self._public = self._next

    async def signer(self) -> Signer:
        """Give the pair to sign with."""
        return self._signer

    async def public(self, kid: str) -> Ed25519PublicKey | None:
        """Give the public key called *kid*, None if there is none."""
        return self._public.get(kid)

    async def published(self) -> Sequence[Mapping[str, str]]:
        """Give all public keys as JWKs."""
        return [_jwk(key, kid) for kid, key in self._public.items()]


class StoredSigningKeys:
    """The signing keys in Postgres, as this instance knows them."""

    def __init__(self, database: Database, encryption: Encryption) -> None:
        """Take the collaborators; nothing is read before it is needed."""
        self._database = database
        self._encryption = encryption
        self._public: dict[str, Ed25519PublicKey] = {}
        self._published: list[Mapping[str, str]] = []
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

    async def published(self) -> Sequence[Mapping[str, str]]:
        """Give all public keys as JWKs; while Postgres is away those that were known, or DatabaseDown if none was."""
        if self._age() > KNOWN_S:
            try:
                await self._read(make=False)
            except (Fault, TimeoutError):
                if not self._published:
                    raise
        return self._published

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
            self._published = [key.public_jwk for key in stored if key.algorithm == ALGORITHM]
            self._public = {jwk["kid"]: _public_key(jwk) for jwk in self._published}
            self._signer = self._usable(stored)
            self._read_at = asyncio.get_running_loop().time()

    async def _make_unless_made(self, connection: Connection) -> list[StoredSigningKey]:
        """Store a new key, unless another instance has done so since we looked."""
        async with connection.transaction():
            await lock_signing_keys(connection)
            stored = await load_signing_keys(connection)
            if self._usable(stored) is None:
                made = new_signing_key(self._encryption)
                await add_signing_key(connection, made)
                stored.insert(0, made)
                log.info("signing key made", kid=made.kid)
        return stored

    def _usable(self, stored: list[StoredSigningKey]) -> Signer | None:
        """Give the newest settled pair whose private half can be read here; without a settled one, the oldest."""
        usable = [(key.age_s >= SETTLED_S, signer) for key in stored if (signer := self._open(key)) is not None]
        settled = [signer for is_settled, signer in usable if is_settled]
        return settled[0] if settled else usable[-1][1] if usable else None

    def _open(self, key: StoredSigningKey) -> Signer | None:
        if key.algorithm != ALGORITHM or not self._encryption.knows(key.secret_key_id):
            return None
        try:
            private = self._encryption.open(Sealed(key.secret_key_id, key.private_key), _owner(key.kid))
        except SecretUnreadable:
            log.error("signing key unreadable", kid=key.kid)  # noqa: TRY400  # the traceback says nothing more
            return None
        return Signer(key.kid, Ed25519PrivateKey.from_private_bytes(private))


async def rotate_signing_keys(connection: Connection, encryption: Encryption, overlap_s: int) -> str:
    """Make a new signing key, let all others verify for *overlap_s* more, and give the name of the new one."""
    made = new_signing_key(encryption)
    async with connection.transaction():
        await lock_signing_keys(connection)
        await add_signing_key(connection, made)
        await end_other_signing_keys(connection, made.kid, overlap_s)
    return made.kid


def new_signing_key(encryption: Encryption) -> StoredSigningKey:
    """Make a key, ready to be stored."""
    kid = secrets.token_hex(8)
    private = Ed25519PrivateKey.generate()
    sealed = encryption.seal(private.private_bytes_raw(), _owner(kid))
    return StoredSigningKey(kid, ALGORITHM, _jwk(private.public_key(), kid), sealed.ciphertext, sealed.key_id)


def _owner(kid: str) -> str:
    return f"signing:{kid}"


def _public_key(jwk: Mapping[str, str]) -> Ed25519PublicKey:
    encoded = jwk["x"]
    return Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))


def _jwk(key: Ed25519PublicKey, kid: str) -> dict[str, str]:
    encoded = _encoded(key.public_bytes_raw())
    return {"kty": "OKP", "crv": "Ed25519", "x": encoded, "kid": kid, "alg": ALGORITHM, "use": "sig"}


def _thumbprint(key: Ed25519PublicKey) -> str:
    members = {"crv": "Ed25519", "kty": "OKP", "x": _encoded(key.public_bytes_raw())}
    return _encoded(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest())


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
