"""Ids: names that tell what they name, and that nobody can guess or run out of."""

from __future__ import annotations

import secrets
from typing import Final

from gateway.core.credentials import base62

RANDOM_CHARACTERS: Final = 22


def new_id(kind: str) -> str:
    """Give a new id of *kind*, e.g. ``api_key_`` and 22 random base62 characters (131 bits)."""
    return f"{kind}_{base62(secrets.randbelow(62**RANDOM_CHARACTERS), RANDOM_CHARACTERS)}"
