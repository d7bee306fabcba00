"""TLS in the settings: files are looked at where they are named, and nothing of a key is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import ValidationError

from gateway.settings.listeners import Listener
from tests.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def tls(certificate: Path, key: Path, **more: Any) -> Listener:
    return Listener.model_validate({"port": 1, "tls": {"certificate": certificate, "key": key, **more}})


def test_a_pair_is_accepted_with_others_and_authorities(authority: Authority) -> None:
    certificate, key = authority.issue("other", "other.example.com")
    found = tls(
        *authority.issue("one", "one.example.com"),
        further=[{"certificate": certificate, "key": key}],
        client_ca=authority.file,
        minimum_version=1.3,
    ).tls
    assert found is not None
    assert (found.minimum_version, found.client_ca) == ("1.3", authority.file)


def test_a_version_that_is_too_old_is_refused(authority: Authority) -> None:
    with pytest.raises(ValidationError, match=r"'1.2' or '1.3'"):
        tls(*authority.issue("one"), minimum_version="1.1")


def test_a_key_of_another_certificate_is_refused(authority: Authority) -> None:
    certificate, _ = authority.issue("one")
    _, key = authority.issue("other")
    with pytest.raises(ValidationError, match=r"one.pem and .*other.key cannot be used; expected"):
        tls(certificate, key)


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_a_password(authority: Authority) -> None:
    certificate, key = authority.issue("one")
    loaded = load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    with pytest.raises(ValidationError, match="the key not encrypted"):
        tls(certificate, key)


def test_files_that_are_not_there_are_named(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue("one")
    with pytest.raises(ValidationError, match=r"nowhere.key cannot be read \(No such file or directory\)"):
        tls(certificate, tmp_path / "nowhere.key")
    with pytest.raises(ValidationError, match=r"nowhere.pem cannot be used \(No such file or directory\)"):
        tls(certificate, key, client_ca=tmp_path / "nowhere.pem")


def test_authorities_that_are_none_are_refused(authority: Authority, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")
    with pytest.raises(ValidationError, match=r"nothing.pem cannot be used"):
        tls(*authority.issue("one"), client_ca=nothing)
