"""Secrets at rest: readable only with the key, where they belong, and undamaged."""

from __future__ import annotations

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.adapters.secrets.encryption import Encryption, Sealed, SecretUnreadable, encryption_of
from gateway.adapters.secrets.webhook_secrets import new_webhook_secret
from gateway.settings.stores import Secrets

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


def test_what_a_previous_key_sealed_can_be_opened_and_new_secrets_get_the_new_key() -> None:
    old, both = Encryption(KEY), Encryption(bytes(32), [KEY])
    assert both.open(old.seal(b"secret", "a"), "a") == b"secret"
    assert both.knows(old.key_id)
    sealed = both.seal(b"secret", "a")
    assert sealed.key_id == both.key_id != old.key_id
    assert not old.knows(sealed.key_id)


def test_previous_keys_of_the_settings_may_be_empty() -> None:
    old, new = (base64.b64encode(key).decode() for key in (KEY, bytes(32)))
    assert encryption_of(Secrets.model_validate({"key": new, "previous": ["", old]})).knows(Encryption(KEY).key_id)
    assert not encryption_of(Secrets.model_validate({"key": new, "previous": [""]})).knows(Encryption(KEY).key_id)
    with pytest.raises(ValidationError, match=r"previous\.0\n.*base64 of 32 bytes"):
        Secrets.model_validate({"key": new, "previous": ["short"]})


def test_a_new_webhook_secret_has_32_bytes_and_differs_each_time() -> None:
    assert len(new_webhook_secret()) == 32
    assert new_webhook_secret() != new_webhook_secret()
