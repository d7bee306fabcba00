"""The public keys of login tokens for whoever wants to verify one: a JWK set (RFC 7517)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.core.answers import json_answer

if TYPE_CHECKING:
    from gateway.core.answers import Answer, Asked
    from gateway.management.signing_keys import SigningKeys

CACHED: Final = "public, max-age=60"
"""A replaced key verifies for longer, and verifiers ask again for a key that they do not know."""


class JwksAnswer:
    """Answers GET /.well-known/jwks.json; may raise DatabaseDown."""

    def __init__(self, keys: SigningKeys) -> None:
        """Take the signing keys."""
        self._keys = keys

    async def jwks(self, asked: Asked) -> Answer:  # noqa: ARG002  # it is the same for everybody
        """Answer with every public key, the newest first."""
        return replace(json_answer(200, {"keys": list(await self._keys.published())}), caching=CACHED)
