"""Tokens of an outside identity provider manage keys, and nothing else that looks like one does."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.fakes.identity_provider import (
    ACCOUNT_CLAIM,
    AUDIENCE,
    ISSUER,
    ROLE_CLAIM,
    RSA_KEY,
    IdentityProvider,
    identity_provider,
    jwk,
)
from tests.integration.managing import PASSWORD, SMALL, Managing, managing
from tests.unit.management.asking import NOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHEAP = {"time_cost": 1, "memory_kib": 64, "parallelism": 1}


def settings_of(provider: IdentityProvider, **more: Any) -> dict[str, Any]:
    told = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": provider.url, "account_claim": ACCOUNT_CLAIM}
    return {"password_hash": CHEAP, "jwt": {**told, **more}}


@pytest.fixture
async def provider() -> AsyncIterator[IdentityProvider]:
    async with identity_provider() as provider:
        yield provider


@pytest.fixture
async def asking(postgres_dsn: str, provider: IdentityProvider) -> AsyncIterator[Managing]:
    async with managing(postgres_dsn, auth=settings_of(provider)) as asking:
        yield asking


@pytest.fixture
async def account(asking: Managing) -> str:
    return await asking.user("ada@example.com")


async def status(asking: Managing, token: str, now: float = NOW) -> int:
    return (await replace(asking, token=token).ask("keys.list", now=now)).status


async def test_its_token_manages_the_keys_of_the_account_that_it_names(
    asking: Managing, provider: IdentityProvider, account: str
) -> None:
    other = await asking.logged_in("bob@example.com")
    somebody = replace(asking, token=provider.token(NOW, **{ACCOUNT_CLAIM: account}))
    made = await somebody.told(201, "keys.create", SMALL)
    listed = await somebody.told(200, "keys.list")
    assert [key["id"] for key in listed["data"]] == [made["id"]]
    assert (await other.told(200, "keys.list"))["data"] == []
    await other.told(404, "keys.get", key_id=made["id"])


async def test_the_built_in_login_goes_on_beside_it(asking: Managing) -> None:
    ada = await asking.logged_in("eve@example.com")
    await ada.told(201, "keys.create", SMALL)


@pytest.mark.parametrize("claims", [{}, {ACCOUNT_CLAIM: 7}, {ACCOUNT_CLAIM: ""}, {ACCOUNT_CLAIM: "account_unknown"}])
async def test_a_genuine_token_for_no_account_is_told_so(
    asking: Managing, provider: IdentityProvider, account: str, claims: dict[str, Any]
) -> None:
    told = await replace(asking, token=provider.token(NOW, **claims)).told(403, "keys.list")
    assert told["error"] == "account_unknown"
    assert "account" in told["message"]


async def test_nobody_from_outside_is_an_admin_unless_the_settings_say_by_which_claim(
    asking: Managing, provider: IdentityProvider, account: str, postgres_dsn: str
) -> None:
    ada = replace(asking, token=provider.token(NOW, **{ACCOUNT_CLAIM: account}))
    key_id = (await ada.told(201, "keys.create", SMALL))["id"]
    elsewhere = await asking.user("bob@example.com")
    claims: list[Any] = ["admin", ["viewer", "admin"]]
    for role in claims:
        token = provider.token(NOW, **{ACCOUNT_CLAIM: elsewhere, ROLE_CLAIM: role, "role": "admin"})
        await replace(asking, token=token).told(404, "keys.get", key_id=key_id)
    async with managing(postgres_dsn, auth=settings_of(provider, role_claim=ROLE_CLAIM)) as trusting:
        for role in claims:
            token = provider.token(NOW, **{ACCOUNT_CLAIM: elsewhere, ROLE_CLAIM: role})
            await replace(trusting, token=token).told(200, "keys.get", key_id=key_id)
        for role in ("administrator", ["Admin"], {"admin": True}, True, None):
            token = provider.token(NOW, **{ACCOUNT_CLAIM: elsewhere, ROLE_CLAIM: role, "role": "admin"})
            await replace(trusting, token=token).told(404, "keys.get", key_id=key_id)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (RSA_KEY, "RS256"),
        (RSA_KEY, "RS512"),
        (RSA_KEY, "PS256"),
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (ec.generate_private_key(ec.SECP521R1()), "ES512"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    ],
    ids=["RS256", "RS512", "PS256", "ES256", "ES384", "ES512", "Ed25519"],
)
@pytest.mark.parametrize("named", [False, True], ids=["without-alg", "with-alg"])
async def test_every_asymmetric_kind_of_key_verifies(
    asking: Managing, provider: IdentityProvider, account: str, key: Any, algorithm: str, named: bool
) -> None:
    provider.signer, provider.algorithm = key, algorithm
    provider.keys = [jwk(key, provider.kid, **({"alg": algorithm} if named else {}))]
    assert await status(asking, provider.token(NOW, **{ACCOUNT_CLAIM: account})) == 200


async def test_a_key_is_believed_only_with_the_algorithm_that_it_names(
    asking: Managing, provider: IdentityProvider, account: str
) -> None:
    provider.signer, provider.algorithm = RSA_KEY, "RS512"
    provider.keys = [jwk(RSA_KEY, provider.kid, alg="RS256")]
    assert await status(asking, provider.token(NOW, **{ACCOUNT_CLAIM: account})) == 401


def encoded(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


async def test_forged_tokens_are_401(asking: Managing, provider: IdentityProvider, account: str) -> None:
    provider.signer, provider.algorithm = RSA_KEY, "RS256"
    provider.keys = [jwk(RSA_KEY, provider.kid)]
    token = provider.token(NOW, **{ACCOUNT_CLAIM: account})
    assert await status(asking, token) == 200
    header, claims, signature = token.split(".")
    told = jwt.decode(token, options={"verify_signature": False})
    kid = provider.kid
    public = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    stranger = rsa.generate_private_key(65537, 2048)

    def hmac_signed(secret: bytes) -> str:
        # PyJWT itself refuses to sign with a public key.
        made = jwt.encode(told, b"x" * 32, "HS256", {"kid": kid}).rpartition(".")[0]
        signed = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(made.encode(), secret)
        return f"{made}.{base64.urlsafe_b64encode(signed).rstrip(b'=').decode()}"

    forged = [
        f"{encoded({'alg': 'none', 'kid': kid})}.{claims}.",
        f"{encoded({'alg': 'None', 'kid': kid})}.{claims}.{signature}",
        f"{header}.{claims}.",
        f"{header}.{encoded({**told, ACCOUNT_CLAIM: 'other'})}.{signature}",
        hmac_signed(public),
        hmac_signed(json.dumps(provider.keys[0]).encode()),
        jwt.encode(told, stranger, "RS256", {"kid": kid}),
        jwt.encode(told, stranger, "RS256", {"kid": kid, "jku": provider.url}),
        jwt.encode(told, stranger, "RS256", {"kid": kid, "jwk": jwk(stranger, kid)}),
        jwt.encode(told, RSA_KEY, "RS256", {"kid": kid, "crit": ["exp"]}),
        jwt.encode(told, RSA_KEY, "RS256", {"kid": kid, "typ": "logout+jwt"}),
        jwt.encode(told, RSA_KEY, "RS256"),
        f"{encoded({'alg': 'RS256', 'kid': [kid]})}.{claims}.{signature}",
        f"{encoded({'alg': 'RS256', 'kid': kid, 'typ': 7})}.{claims}.{signature}",
        f"{encoded([])}.{claims}.{signature}",
        f"{header}.{encoded([])}.{signature}",
        f"{header}.{base64.urlsafe_b64encode(b'[' * 3000).decode()}.{signature}",
        f"{header}.{encoded({**told, 'iss': ['https://id.example.com/']})}.{signature}",
    ]
    assert [await status(asking, each) for each in forged] == [401] * len(forged)


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://id.example.com"},
        {"iss": "gateway"},
        {"aud": "another"},
        {"aud": [f"{AUDIENCE}/"]},
        {"aud": None},
        {"sub": None},
        {"sub": ""},
        {"sub": "a\nb"},
        {"exp": None},
        {"exp": int(NOW)},
        {"exp": "tomorrow"},
        {"exp": True},
        {"nbf": int(NOW) + 6},
        {"nbf": "now"},
        {"iat": int(NOW) + 6},
    ],
    ids=str,
)
async def test_a_token_that_does_not_hold_is_401(
    asking: Managing, provider: IdentityProvider, account: str, claims: dict[str, Any]
) -> None:
    assert await status(asking, provider.token(NOW, **{ACCOUNT_CLAIM: account, **claims})) == 401


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": ["another", AUDIENCE]},
        {"nbf": None, "iat": None},
        {"nbf": int(NOW) + 4, "iat": int(NOW) + 4},
        {"exp": NOW + 0.5},
    ],
    ids=str,
)
async def test_a_token_may_leave_out_or_write_what_the_standard_lets_it(
    asking: Managing, provider: IdentityProvider, account: str, claims: dict[str, Any]
) -> None:
    assert await status(asking, provider.token(NOW, **{ACCOUNT_CLAIM: account, **claims})) == 200


async def test_keys_that_prove_nothing_are_passed_over(
    asking: Managing, provider: IdentityProvider, account: str
) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    provider.keys = [
        {"kty": "oct", "k": encoded("secret"), "kid": "secret"},
        jwk(weak, "weak"),
        {**jwk(provider.signer, "encrypts"), "use": "enc"},
        jwk(provider.signer, "odd", alg="HS256"),
        {"kty": "RSA", "kid": "broken"},
        {"kty": "EC", "kid": "broken too", "crv": "P-256", "x": "AA", "y": "AA"},
        {name: value for name, value in jwk(provider.signer, "").items() if name != "kid"},
        jwk(provider.signer, provider.kid),
        jwk(ed25519.Ed25519PrivateKey.generate(), provider.kid),
    ]
    told = {ACCOUNT_CLAIM: account}
    assert await status(asking, provider.token(NOW, **told)) == 200
    for kid in ("secret", "encrypts", "odd", "broken", "broken too", ""):
        assert await status(asking, provider.token(NOW, header={"kid": kid}, **told)) == 401, kid
    provider.signer, provider.algorithm, provider.kid = weak, "RS256", "weak"
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = provider.token(NOW, **told)
    assert await status(asking, token) == 401


async def test_with_the_login_off_only_its_tokens_count(
    postgres_dsn: str, provider: IdentityProvider, asking: Managing
) -> None:
    account = await asking.user("ada@example.com")
    own = (await asking.told(200, "login", {"email": "ada@example.com", "password": PASSWORD}))["token"]
    async with managing(postgres_dsn, auth={**settings_of(provider), "login": False}) as strict:
        assert await status(strict, own) == 401
        assert await status(strict, provider.token(NOW, **{ACCOUNT_CLAIM: account})) == 200


async def test_tokens_of_other_issuers_fetch_nothing(asking: Managing, provider: IdentityProvider) -> None:
    stranger = jwt.encode({"iss": "https://elsewhere.example.com/"}, provider.signer, "EdDSA", {"kid": "first"})
    for token in (stranger, "a.b.c", "x"):
        assert await status(asking, token) == 401
    assert provider.asked == 0


async def test_all_who_come_at_once_wait_for_one_fetch(
    asking: Managing, provider: IdentityProvider, account: str
) -> None:
    provider.delay_s = 0.1
    token = provider.token(NOW, **{ACCOUNT_CLAIM: account})
    assert await asyncio.gather(*(status(asking, token) for _ in range(20))) == [200] * 20
    assert provider.asked == 1
