"""Fetching the keys of an identity provider: one bounded request, and an answer that may be anything.

Redirects are not followed and nothing is decompressed: the keys are at the URL of the settings, in 256 KiB at most.
"""

from __future__ import annotations

import json
from typing import Any, Final

import aiohttp

from gateway.ports import Fault

BODY_MAX_BYTES: Final = 262_144


class IdentityProviderDown(Fault):
    """The identity provider does not give its keys: it is away, too slow, or its answer cannot be used."""

    code = "identity_provider_down"


async def fetch_jwks(url: str, timeout_s: float) -> list[dict[str, Any]]:
    """Give the members of the JWK set at *url* (RFC 7517 section 5) within *timeout_s*; raises IdentityProviderDown."""
    try:
        return _members(await _body(url, timeout_s))
    except TimeoutError as error:
        message = f"no JWK set within {timeout_s:g} s"
        raise IdentityProviderDown(message) from error
    except (aiohttp.ClientError, OSError) as error:
        # The message of an error of aiohttp may quote the answer.
        message = f"the JWK set could not be fetched: {type(error).__name__}"
        raise IdentityProviderDown(message) from error


async def _body(url: str, timeout_s: float) -> bytes:
    # One session a fetch: fetches are minutes apart, and nothing is left to be closed.
    async with (
        aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"},
        ) as session,
        session.get(url, allow_redirects=False) as response,
    ):
        if response.status != 200 or response.headers.get("Content-Encoding", "identity").lower() != "identity":
            message = f"the JWK set came with status {response.status}, or compressed; expected 200, as it is"
            raise IdentityProviderDown(message)
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > BODY_MAX_BYTES:
                message = f"the JWK set is larger than {BODY_MAX_BYTES} bytes"
                raise IdentityProviderDown(message)
        return bytes(body)


def _members(body: bytes) -> list[dict[str, Any]]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        message = "the JWK set is not JSON"
        raise IdentityProviderDown(message) from error
    members = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(members, list):
        message = 'the JWK set has no list of "keys"'
        raise IdentityProviderDown(message)
    return [member for member in members if isinstance(member, dict)]
