"""Settings of logins: signing keys by file, and the identity provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.settings.compile import compile_snapshot
from gateway.settings.key_files import read_key_file
from tests.unit.settings.conftest import STORES, TRAFFIC

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.settings.conftest import Load, Problems

RIGHT = STORES + TRAFFIC
KEY = Ed25519PrivateKey.generate()
PRIVATE = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
LOCKED = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
OTHER_KIND = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def provider(**more: str) -> str:
    told = {"issuer": "https://id/", "audience": "a", "jwks_url": "https://id/jwks.json", "account_claim": "account"}
    members = ", ".join(f"{name}: {value!r}" for name, value in {**told, **more}.items())
    return f"{RIGHT}auth: {{jwt: {{{members}}}}}\n"


@pytest.mark.parametrize(
    "url",
    [
        "https://id.example.com/keys",
        "https://id.example.com:8443/keys?tenant=1",
        "http://127.0.0.1:8080/keys",
        "http://127.9.9.9/keys",
        "http://[::1]/keys",
        "http://localhost:1/keys",
    ],
)
def test_keys_come_from_https_or_this_machine(loaded: Load, url: str) -> None:
    config = loaded(provider(jwks_url=url))
    assert config.auth.jwt is not None
    assert config.auth.jwt.jwks_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://id.example.com/keys",
        "http://10.0.0.1/keys",
        "http://localhost.example.com/keys",
        "http://127.0.0.1@id.example.com/keys",
        "https://user:hunter2@id.example.com/keys",
        "https:///keys",
        "https://id.example.com:0/keys",
        "https://id.example.com:x/keys",
        "https://id.example.com/keys#part",
        "https://id.example.com/a b",
        "file:///etc/passwd",
        "id.example.com",
        "",
    ],
)
def test_keys_come_from_nowhere_else(problems: Problems, url: str) -> None:
    found = problems(provider(jwks_url=url))
    assert len(found) == 1
    assert "auth.jwt.jwks_url" in found[0]
    assert "expected https://host/path" in found[0]
    assert "hunter2" not in found[0]


def test_what_the_provider_is_must_be_said_in_full(problems: Problems) -> None:
    found = problems(RIGHT + "auth: {jwt: {}}\n")
    assert {problem.split(": ")[1].split(" is missing")[0] for problem in found} == {
        *("auth.jwt.issuer", "auth.jwt.audience", "auth.jwt.jwks_url", "auth.jwt.account_claim")
    }


def test_a_setting_of_the_provider_that_is_not_known_is_said_so(problems: Problems) -> None:
    found = problems(provider(jwks_uri="https://id/jwks.json"))
    assert "auth.jwt.jwks_uri is not a known setting; did you mean jwks_url?" in found[0]


def test_two_issuers_of_one_name_are_refused(problems: Problems) -> None:
    assert 'auth.jwt.issuer is "gateway", as auth.issuer is' in problems(provider(issuer="gateway"))[0]


def test_a_claim_that_is_none_is_refused(problems: Problems) -> None:
    assert "auth.jwt.account_claim" in problems(provider(account_claim="a b"))[0]


def test_nobody_from_outside_is_an_admin_by_default(loaded: Load) -> None:
    config = loaded(provider())
    assert config.auth.jwt is not None
    assert config.auth.jwt.role_claim is None


def test_without_the_login_its_paths_are_not_there(loaded: Load) -> None:
    def names(text: str) -> set[str]:
        return {route.name for route in compile_snapshot(loaded(text)).routes.routes}

    assert {"auth.login", "auth.jwks", "keys.create"} <= names(RIGHT)
    without = names(RIGHT + "auth: {login: false}\n")
    assert "keys.create" in without
    assert not without & {"auth.login", "auth.jwks"}


def test_the_first_key_of_a_file_signs_and_all_verify(tmp_path: Path, loaded: Load) -> None:
    path = tmp_path / "keys.pem"
    other = Ed25519PrivateKey.generate()
    path.write_bytes(b"notes\n" + PRIVATE + other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert loaded(f"{RIGHT}auth: {{signing_key_file: {path}}}\n").auth.signing_key_file == path
    private, public = read_key_file(path)
    assert private.private_bytes_raw() == KEY.private_bytes_raw()
    assert [key.public_bytes_raw() for key in public] == [key.public_key().public_bytes_raw() for key in (KEY, other)]


@pytest.mark.parametrize(
    "content",
    [None, b"", b"hunter2", PUBLIC, PUBLIC + PRIVATE, LOCKED, OTHER_KIND, PRIVATE + OTHER_KIND, PRIVATE.lower()],
    ids=["absent", "empty", "text", "public", "public first", "encrypted", "EC", "EC behind", "lower case"],
)
def test_a_file_without_a_key_to_sign_with_is_refused(
    tmp_path: Path, problems: Problems, content: bytes | None
) -> None:
    path = tmp_path / "keys.pem"
    if content is not None:
        path.write_bytes(content)
    found = problems(f"{RIGHT}auth: {{signing_key_file: {path}}}\n")
    assert len(found) == 1
    assert "auth.signing_key_file" in found[0]
    assert "openssl genpkey -algorithm ed25519" in found[0]
    assert "hunter2" not in found[0]
    assert "PRIVATE KEY" not in found[0]
