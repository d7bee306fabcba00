"""Webhook secrets as they are made, and encrypted for the key whose webhook they sign."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from gateway.core.webhook_secrets import show_secret

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.adapters.secrets.encryption import Encryption, Sealed

_NEW_BYTES: Final = 32


def new_webhook_secret() -> bytes:
    """Make a secret of 32 random bytes."""
    return secrets.token_bytes(_NEW_BYTES)


def seal_webhook_secret(encryption: Encryption, key_id: str, secret: bytes) -> Sealed:
    """Encrypt the *secret* of this key."""
    return encryption.seal(secret, _owner(key_id))


def open_webhook_secrets(encryption: Encryption, key_id: str, sealed: Iterable[Sealed]) -> list[str]:
    """Decrypt secrets of this key, as `whsec_` and base64; raises SecretUnreadable."""
    return [show_secret(encryption.open(secret, _owner(key_id))) for secret in sealed]


def _owner(key_id: str) -> str:
    return f"webhook:{key_id}"
