"""Secrets at rest: readable only with the key, where they belong, and undamaged."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.secrets.encryption import Encryption, Sealed, SecretUnreadable

KEY = bytes(range(32))


@given(st.binary(max_size=200), st.text(st.characters(codec="utf-8")))
def test_what_is_sealed_can_be_opened(secret: bytes, owner: str) -> None:
    encryption = Encryption(KEY)
    assert encryption.open(encryption.seal(secret, owner), owner) == secret


def test_the_same_secret_never_looks_the_same() -> None:
    encryption = Encryption(KEY)
    assert encryption.seal(b"secret", "a").ciphertext != encryption.seal(b"secret", "a").ciphertext


def test_another_owner_cannot_open_it() -> None:
    encryption = Encryption(KEY)
    with pytest.raises(SecretUnreadable, match="webhook:b"):
        encryption.open(encryption.seal(b"secret", "webhook:a"), "webhook:b")


def test_another_key_is_named_by_its_id() -> None:
    sealed = Encryption(os.urandom(32)).seal(b"secret", "a")
    with pytest.raises(SecretUnreadable, match=sealed.key_id):
        Encryption(KEY).open(sealed, "a")


@pytest.mark.parametrize("length", [0, 5, 12, 20, 33])
def test_what_is_cut_short_cannot_be_opened(length: int) -> None:
    encryption = Encryption(KEY)
    sealed = encryption.seal(b"secret", "a")
    with pytest.raises(SecretUnreadable):
        encryption.open(Sealed(sealed.key_id, sealed.ciphertext[:length]), "a")


def test_nothing_secret_is_in_a_representation() -> None:
    sealed = Encryption(KEY).seal(b"secret", "a")
    assert repr(sealed.ciphertext) not in repr(sealed)
