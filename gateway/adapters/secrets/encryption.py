"""Encrypts secrets before they are stored: AES-256-GCM, bound to what each secret belongs to.

The id of the key stands beside every ciphertext, so that a key can be replaced while old ciphertexts are still about.
"""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.ports import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.settings.stores import Secrets

KEY_BYTES: Final = 32

_NONCE_BYTES: Final = 12
_KEY_ID_CHARACTERS: Final = 12


class SecretUnreadable(Fault):
    """A stored secret cannot be decrypted: another key encrypted it, or it is not where it belongs."""

    code = "secret_unreadable"


@dataclass(frozen=True, slots=True)
class Sealed:
    """An encrypted secret: the id of the key that encrypted it, and nonce, ciphertext and tag in one."""

    key_id: str
    ciphertext: bytes = field(repr=False)


class Encryption:
    """Encrypts with one key of 32 bytes, and decrypts what that one or one of the *previous* ones encrypted."""

    def __init__(self, key: bytes, previous: Iterable[bytes] = ()) -> None:
        """Take the keys, and derive the ids by which they are known beside ciphertexts."""
        self.key_id = key_id_of(key)
        self._ciphers = {key_id_of(known): AESGCM(known) for known in (*previous, key)}

    def knows(self, key_id: str) -> bool:
        """Say whether what the key with this id encrypted can be decrypted here."""
        return key_id in self._ciphers

    def seal(self, secret: bytes, owner: str) -> Sealed:
        """Encrypt *secret*; it can be read only for the same *owner*, e.g. "webhook:api_key_...".

        The nonce is random (NIST SP 800-38D section 8.2.2), good for 2**32 secrets under one key.
        """
        nonce = os.urandom(_NONCE_BYTES)
        return Sealed(self.key_id, nonce + self._ciphers[self.key_id].encrypt(nonce, secret, owner.encode()))

    def open(self, sealed: Sealed, owner: str) -> bytes:
        """Decrypt what was sealed for *owner*; raises SecretUnreadable."""
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            known = " and ".join(self._ciphers)
            message = f"the secret was encrypted with the key {sealed.key_id}, and secrets has only {known}"
            raise SecretUnreadable(message)
        nonce, ciphertext = sealed.ciphertext[:_NONCE_BYTES], sealed.ciphertext[_NONCE_BYTES:]
        try:
            return cipher.decrypt(nonce, ciphertext, owner.encode())
        except (InvalidTag, ValueError):
            message = f"the secret is damaged, or does not belong to {owner}"
            raise SecretUnreadable(message) from None


def encryption_of(settings: Secrets) -> Encryption:
    """Give the encryption that *settings* want."""
    key, *previous = (base64.b64decode(text.get_secret_value()) for text in (settings.key, *settings.previous))
    return Encryption(key, previous)


def key_id_of(key: bytes) -> str:
    """Give the id of *key*, which tells nothing about it."""
    assert len(key) == KEY_BYTES
    return hashlib.sha256(b"gateway secret key id:" + key).hexdigest()[:_KEY_ID_CHARACTERS]
