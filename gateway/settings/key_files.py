"""Files with signing keys: PEM, the first key signs, and every one verifies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

if TYPE_CHECKING:
    from pathlib import Path

_BLOCK: Final = re.compile(rb"-----BEGIN (PRIVATE|PUBLIC) KEY-----.*?-----END \1 KEY-----", re.DOTALL)
_EXPECTED: Final = "expected Ed25519 keys in PEM, e.g. the output of openssl genpkey -algorithm ed25519"
_FILE_MAX_BYTES: Final = 65_536


def read_key_file(path: Path) -> tuple[Ed25519PrivateKey, tuple[Ed25519PublicKey, ...]]:
    """Give the pair to sign with, and all public keys of the file, in its order.

    Raises ValueError, which says what is wrong and shows nothing of the content.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_MAX_BYTES)
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}; {_EXPECTED}"
        raise ValueError(message) from None
    keys = [_read_block(block[0], private=block[1] == b"PRIVATE", path=path) for block in _BLOCK.finditer(content)]
    if not keys or isinstance(keys[0], Ed25519PublicKey):
        message = f"{path} does not begin with a private key in PKCS #8, which signs; {_EXPECTED}"
        raise ValueError(message)
    public = [key.public_key() if isinstance(key, Ed25519PrivateKey) else key for key in keys]
    return keys[0], tuple(public)


def _read_block(pem: bytes, *, private: bool, path: Path) -> Ed25519PrivateKey | Ed25519PublicKey:
    try:
        key = load_pem_private_key(pem, None) if private else load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey | Ed25519PublicKey):
        message = f"{path} has a key that cannot be used; {_EXPECTED}"
        raise ValueError(message)  # noqa: TRY004  # settings are refused with ValueError
    return key
