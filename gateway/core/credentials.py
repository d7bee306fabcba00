"""Credentials: how a key looks, how one is issued, and how one is read from a request (contract section 3).

A key of ours is a prefix, 26 random base62 characters and 6 base62 characters of their CRC-32, so that secret scanners
recognise it and a typing error is refused without a look-up.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.snapshot import KeyFormat

BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RANDOM_CHARACTERS: Final = 26
CHECKSUM_CHARACTERS: Final = 6
PREFIX_CHARACTERS: Final = 12

_BODY: Final = re.compile(r"[A-Za-z0-9_]{16,64}")
_REDACTABLE: Final = re.compile(r"(bk_(?:live|test)_[A-Za-z0-9_]{4})[A-Za-z0-9_]+")


class Credential(Struct, gc=False):
    """A credential that looks like a key: the SHA-256 of the whole, its first 12 characters, and the whole.

    Its checksum is not looked at until the digest turns out to be unknown here; see `could_be_ours`.
    """

    digest: bytes
    prefix: str
    token: str

    def __repr__(self) -> str:
        """Show the prefix only."""
        return f"Credential(prefix={self.prefix!r})"


@dataclass(frozen=True, slots=True)
class NoCredential:
    """There is no Authorization field, or it speaks another scheme."""


@dataclass(frozen=True, slots=True)
class MalformedCredential:
    """A bearer token that cannot be one of our keys."""


@dataclass(frozen=True, slots=True)
class RepeatedCredential:
    """More than one credential, as *reason* says: which one a backend would believe cannot be known."""

    reason: str = "More than one Authorization header"


CredentialProblem = NoCredential | MalformedCredential | RepeatedCredential

_TWO_PLACES: Final = "An API key in Authorization and in X-API-Key: send it in one of them"
_NONE = NoCredential()
_MALFORMED = MalformedCredential()


def base62(number: int, length: int) -> str:
    """Write *number* in base 62, padded with zeros to *length* characters."""
    characters: list[str] = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        characters.append(BASE62[digit])
    return "".join(reversed(characters))


def checksum(body: str) -> str:
    """Give the six characters that follow the random part *body*."""
    return base62(zlib.crc32(body.encode()), CHECKSUM_CHARACTERS)


def issue(prefix: str, randomness: int) -> str:
    """Make a key from *randomness*, a number drawn evenly from ``range(62**26)`` by a secure source."""
    body = base62(randomness, RANDOM_CHARACTERS)
    return prefix + body + checksum(body)


def digest(key: str) -> bytes:
    """Give the SHA-256 under which a key is stored and looked up."""
    return hashlib.sha256(key.encode()).digest()


def has_our_checksum(key: str, prefixes: Sequence[str]) -> bool:
    """Say whether *key* is one that we could have issued."""
    for prefix in prefixes:
        if key.startswith(prefix):
            body = key[len(prefix) :]
            if len(body) != RANDOM_CHARACTERS + CHECKSUM_CHARACTERS or _BODY.fullmatch(body) is None:
                return False
            return checksum(body[:RANDOM_CHARACTERS]) == body[RANDOM_CHARACTERS:]
    return False


def read(authorization: Sequence[str], key_format: KeyFormat) -> Credential | CredentialProblem:
    """Read the credential from the values of all Authorization fields of a request (RFC 6750 section 2.1)."""
    if len(authorization) != 1:
        return RepeatedCredential() if authorization else _NONE
    if authorization[0].startswith("Bearer "):
        token = authorization[0][7:]
        if key_format.pattern.fullmatch(token) is not None:
            return Credential(hashlib.sha256(token.encode()).digest(), token[:PREFIX_CHARACTERS], token)
    scheme, _, token = authorization[0].partition(" ")
    return parse(token.strip(" \t"), key_format) if scheme.lower() == "bearer" else _NONE


def read_both(
    authorization: Sequence[str], api_key: Sequence[str], key_format: KeyFormat
) -> Credential | CredentialProblem:
    """Read the credential where it may come in Authorization or in X-API-Key, given the values of all fields of both.

    X-API-Key decides where Authorization is foreign, which is then the backend's affair. With a key of ours in both
    there is no telling whose request it is, even if it is the same key: such a client is to be corrected.
    """
    if not api_key:
        return read(authorization, key_format)
    token = api_key[0].strip(" \t")
    if len(api_key) > 1:
        return RepeatedCredential("More than one X-API-Key header")
    if not token or len(authorization) > 1:
        return read(authorization, key_format)
    if authorization and mentions_key(authorization[0], key_format):
        both = mentions_key(token, key_format)
        return RepeatedCredential(_TWO_PLACES) if both else read(authorization, key_format)
    return parse(token, key_format)


def mentions_key(value: str, key_format: KeyFormat) -> bool:
    """Say whether the *value* of a field has a key of ours in it, or what was meant as one."""
    return any(prefix in value for prefix in key_format.prefixes)


def parse(token: str, key_format: KeyFormat) -> Credential | MalformedCredential:
    """Judge the form of a key, but for its checksum."""
    if key_format.pattern.fullmatch(token) is None:
        return _MALFORMED
    return Credential(hashlib.sha256(token.encode()).digest(), token[:PREFIX_CHARACTERS], token)


def could_be_ours(credential: Credential, key_format: KeyFormat) -> bool:
    """Say whether a key that is not known here is worth a look-up: one that nobody issued is not."""
    return key_format.legacy or has_our_checksum(credential.token, key_format.prefixes)


def redact(text: str) -> str:
    """Shorten every key in *text* to its prefix, for logs and messages."""
    return _REDACTABLE.sub(r"\1…", text)
