"""Who may manage keys: the built-in login, and tokens of an outside identity provider."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from gateway.settings.fields import JwksUrl, Number, Section, Switch, Whole
from gateway.settings.key_files import read_key_file


def _claim(value: str) -> str:
    if re.fullmatch(r"[^\s\x00-\x1f\x7f]{1,200}", value) is None:
        message = "this is not the name of a claim; expected e.g. account or https://example.com/account"
        raise ValueError(message)
    return value


def _key_file(path: Path) -> Path:
    read_key_file(path)
    return path


ClaimName = Annotated[str, AfterValidator(_claim)]
SigningKeyFile = Annotated[Path, AfterValidator(_key_file)]


AUDIENCE = "gateway"


class PasswordHash(Section):
    """The cost of argon2id; by default that of RFC 9106 for memory-constrained systems."""

    time_cost: Whole = Field(default=3, ge=1, le=100)
    """Passes over the memory."""
    memory_kib: Whole = Field(default=65_536, ge=8, le=4_194_304)
    """Memory of one login, in KiB. By default 64 MiB."""
    parallelism: Whole = Field(default=4, ge=1, le=64)
    """Threads of one login."""


class LoginThrottle(Section):
    """How often a login may fail before further attempts get 429; logins that succeed do not count."""

    pair_failures_max: Whole = Field(default=10, ge=1, le=1000)
    """Failures with one e-mail from one client address within window_s. A login that succeeds forgives them."""
    address_failures_max: Whole = Field(default=100, ge=1, le=1000)
    """Failures from one client address within window_s, whatever the e-mail; an IPv6 address counts by its /64."""
    window_s: Whole = Field(default=900, ge=1, le=86_400)
    """Seconds that a failure counts."""


class IdentityProvider(Section):
    """Tokens of an outside identity provider, which manage keys as those of the built-in login do."""

    issuer: str = Field(min_length=1, max_length=500)
    """What its tokens name as their issuer (`iss`), to the letter."""
    audience: str = Field(min_length=1, max_length=500)
    """What its tokens for this gateway name as their audience (`aud`)."""
    jwks_url: JwksUrl
    """Where its public keys are, as a JWK set; https, or plain http to this machine for development. The environment
    variable SSL_CERT_FILE names certificate authorities of your own."""
    account_claim: ClaimName
    """The claim with the id of the account whose keys the token manages."""
    role_claim: ClaimName | None = None
    """The claim with roles, one or a list, that may contain `admin`. Without it nobody from outside is an admin."""
    timeout_s: Number = Field(default=2.0, gt=0, le=30)
    """Seconds that fetching the keys may take."""
    cache_ttl_s: Number = Field(default=300.0, ge=1, le=86_400)
    """Seconds until the keys are fetched again. A token with a key that is not known fetches them sooner."""
    max_stale_s: Number = Field(default=3600.0, ge=0, le=604_800)
    """Seconds beyond cache_ttl_s that fetched keys go on working while the provider is away."""


class Auth(Section):
    """Who may manage keys, and how they show it."""

    login: Switch = True
    """Whether POST /auth/login answers and its tokens work. Off, only those of auth.jwt do, or none."""
    token_lifetime_s: Whole = Field(default=3600, ge=60, le=86_400)
    """Seconds that a login lasts."""
    issuer: str = Field(default="gateway", min_length=1, max_length=200)
    """What login tokens, and signed identities for upstreams, name as their issuer (`iss`)."""
    identity_lifetime_s: Whole = Field(default=60, ge=10, le=300)
    """Seconds that a signed identity lasts (`upstreams.*.signed_identity`). Half of them are left when it is sent."""
    audience: str = Field(default=AUDIENCE, min_length=1, max_length=200)
    """What login tokens name as their audience (`aud`)."""
    signing_key_file: SigningKeyFile | None = None
    """A PEM file with the Ed25519 key that login tokens and identities are signed with, PKCS #8; further keys in it,
    private or public, only verify. A relative path begins at the working directory. A change needs a restart, new keys
    in the same file only a reload. By default signing keys are made and kept in Postgres."""
    password_hash: PasswordHash = PasswordHash()
    """What it costs to check a password."""
    login_throttle: LoginThrottle = LoginThrottle()
    """How often a login may fail."""
    jwt: IdentityProvider | None = None
    """An outside identity provider whose tokens manage keys too. By default there is none."""

    @model_validator(mode="after")
    def _two_issuers(self) -> Self:
        if self.jwt is not None and self.jwt.issuer == self.issuer:
            message = (
                f'auth.jwt.issuer is "{self.issuer[:60]}", as auth.issuer is; expected two names, by which the '
                "tokens of the provider and those of the built-in login are told apart"
            )
            raise ValueError(message)
        return self
