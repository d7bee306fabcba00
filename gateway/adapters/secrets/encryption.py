"""Encrypts secrets before they are stored: AES-256-GCM, bound to what each secret belongs to.

The id of the key stands beside every ciphertext, so that a key can be replaced while old ciphertexts are still about.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32

_NONCE_BYTES: Final = 12
_KEY_ID_CHARACTERS: Final = 12


class SecretUnreadable(Exception):
    """A stored secret cannot be decrypted: another key encrypted it, or it is not where it belongs."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """An encrypted secret: the id of the key that encrypted it, and nonce, ciphertext and tag in one."""

    key_id: str
    ciphertext: bytes = field(repr=False)


class Encryption:
    """Encrypts and decrypts with one key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        """Take the *key*, and derive the id by which it is known beside ciphertexts."""
        assert len(key) == KEY_BYTES
        self._cipher = AESGCM(key)
        self.key_id = hashlib.sha256(b"gateway secret key id:" + key).hexdigest()[:_KEY_ID_CHARACTERS]

    def seal(self, secret: bytes, owner: str) -> Sealed:
        """Encrypt *secret*; it can be read only for the same *owner*, e.g. "webhook:api_key_...".

        The nonce is random (NIST SP 800-38D section 8.2.2), good for 2**32 secrets under one key.
        """
        nonce = os.urandom(_NONCE_BYTES)
        return Sealed(self.key_id, nonce + self._cipher.encrypt(nonce, secret, owner.encode()))

    def open(self, sealed: Sealed, owner: str) -> bytes:
        """Decrypt what was sealed for *owner*; raises SecretUnreadable."""
        if sealed.key_id != self.key_id:
            message = f"the secret was encrypted with the key {sealed.key_id}, and secrets.key is {self.key_id}"
            raise SecretUnreadable(message)
        nonce, ciphertext = sealed.ciphertext[:_NONCE_BYTES], sealed.ciphertext[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, ciphertext, owner.encode())
        except (InvalidTag, ValueError):
            message = f"the secret is damaged, or does not belong to {owner}"
            raise SecretUnreadable(message) from None
