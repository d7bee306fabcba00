"""An identity provider on this machine: signs tokens, serves its keys, and misbehaves on demand."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gateway.embedded.listening import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ISSUER = "https://id.example.com/"
AUDIENCE = "https://api.example.com"
ACCOUNT_CLAIM = "https://example.com/account"
ROLE_CLAIM = "https://example.com/roles"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
# One for all tests: making it takes a while.
RSA_KEY = rsa.generate_private_key(65537, 2048)


def jwk(key: PrivateKey, kid: str, **more: Any) -> dict[str, Any]:
    """Give the public half of *key* as a JWK."""
    algorithm: Any = {
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
    }
    kind = next((made for base, made in algorithm.items() if isinstance(key, base)), jwt.algorithms.OKPAlgorithm)
    return {**json.loads(kind.to_jwk(key.public_key())), "kid": kid, "use": "sig", **more}


@dataclass
class IdentityProvider:
    """Serves *body*, by default *keys*, after *delay_s*, and counts who asks; `stop` and `start` take it away."""

    port: int = field(default_factory=free_port)
    keys: list[dict[str, Any]] = field(default_factory=list)
    body: bytes | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    asked: int = 0
    signer: PrivateKey = field(default_factory=ed25519.Ed25519PrivateKey.generate)
    algorithm: str = "EdDSA"
    kid: str = "first"
    _runner: web.AppRunner | None = None

    def __post_init__(self) -> None:
        if not self.keys:
            self.keys = [jwk(self.signer, self.kid)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/jwks.json"

    def rotate(self, kid: str, *, keep: bool = False) -> None:
        """Sign with a new key called *kid*, and serve it alone or beside the others."""
        self.signer, self.algorithm, self.kid = ed25519.Ed25519PrivateKey.generate(), "EdDSA", kid
        self.keys = [jwk(self.signer, kid), *(self.keys if keep else [])]

    def token(self, now: float, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Sign a token; *claims* replace those that it would have, and None leaves one out."""
        told = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "somebody",
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now) + 600,
            **claims,
        }
        told = {name: value for name, value in told.items() if value is not None}
        return jwt.encode(told, self.signer, self.algorithm, {"kid": self.kid, **(header or {})})

    async def start(self) -> None:
        application = web.Application()
        application.router.add_get("/jwks.json", self._answer)
        application.router.add_get("/moved", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        await asyncio.sleep(self.delay_s)
        body = json.dumps({"keys": self.keys}).encode() if self.body is None else self.body
        return web.Response(status=self.status, body=body, headers=self.headers, content_type="application/json")


@asynccontextmanager
async def identity_provider() -> AsyncIterator[IdentityProvider]:
    """Run a provider; whatever was done to it, nothing is left."""
    provider = IdentityProvider()
    await provider.start()
    try:
        yield provider
    finally:
        await provider.stop()
