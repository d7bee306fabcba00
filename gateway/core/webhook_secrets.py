"""Webhook secrets: read as the owner gave them, and written in the form of Standard Webhooks."""

from __future__ import annotations

import base64
import binascii
from typing import Final

_FORM: Final = "whsec_"
_LEAST: Final = 16
_MOST: Final = 128


class WebhookSecretError(ValueError):
    """A secret that cannot be used; the message says what is expected."""


def read_secret(text: str) -> bytes:
    """Read a secret: `whsec_` and base64, or text whose UTF-8 bytes are the secret; raises WebhookSecretError."""
    if not text.startswith(_FORM):
        if not _LEAST <= len(text) <= _MOST:
            message = f"must have {_LEAST} to {_MOST} characters, or be {_FORM} and base64"
            raise WebhookSecretError(message)
        return text.encode()
    try:
        secret = base64.b64decode(text.removeprefix(_FORM), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not _LEAST <= len(secret) <= _MOST:
        message = f"must be {_FORM} and base64 of {_LEAST} to {_MOST} bytes"
        raise WebhookSecretError(message)
    return secret


def show_secret(secret: bytes) -> str:
    """Write *secret* as `whsec_` and base64."""
    return _FORM + base64.b64encode(secret).decode()
