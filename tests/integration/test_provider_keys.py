"""The identity provider's keys: what happens when it rotates, stalls, answers nonsense or dies."""

from __future__ import annotations

import asyncio
import gzip
import json
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

import pytest

from gateway.adapters.identity.jwks import BODY_MAX_BYTES, IdentityProviderDown, fetch_jwks
from gateway.management.provider_keys import FETCH_AGAIN_S, RETRY_S, ProviderKeys
from tests.fakes.identity_provider import ACCOUNT_CLAIM, IdentityProvider, identity_provider
from tests.integration.managing import Managing, managing
from tests.integration.test_identity_provider import settings_of
from tests.limiters import eventually
from tests.unit.management.asking import NOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TTL_S = 300.0
MAX_STALE_S = 1000.0


@dataclass
class Clock:
    """Stands still until it is told to go on."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def provider() -> AsyncIterator[IdentityProvider]:
    async with identity_provider() as provider:
        yield provider


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def keys(provider: IdentityProvider, clock: Clock) -> AsyncIterator[ProviderKeys]:
    keys = ProviderKeys(partial(fetch_jwks, provider.url, 5.0), clock, ttl_s=TTL_S, max_stale_s=MAX_STALE_S)
    yield keys
    await keys.close()


async def test_keys_are_fetched_once_and_kept(keys: ProviderKeys, provider: IdentityProvider) -> None:
    for _ in range(5):
        assert await keys.find("first") is not None
    assert provider.asked == 1


async def test_a_new_key_is_found_when_a_token_first_names_it(
    keys: ProviderKeys, provider: IdentityProvider, clock: Clock
) -> None:
    await keys.find("first")
    provider.rotate("second", keep=True)
    clock.now += FETCH_AGAIN_S
    assert await keys.find("second") is not None
    assert await keys.find("first") is not None
    assert provider.asked == 2


async def test_a_key_that_was_withdrawn_is_forgotten_with_the_next_fetch(
    keys: ProviderKeys, provider: IdentityProvider, clock: Clock
) -> None:
    await keys.find("first")
    provider.rotate("second")
    clock.now += FETCH_AGAIN_S
    assert await keys.find("second") is not None
    assert await keys.find("first") is None


async def test_a_flood_of_made_up_keys_is_no_flood_of_fetches(
    keys: ProviderKeys, provider: IdentityProvider, clock: Clock
) -> None:
    await keys.find("first")
    for number in range(100):
        assert await keys.find(f"made up {number}") is None
    assert provider.asked == 1
    clock.now += FETCH_AGAIN_S
    found = await asyncio.gather(*(keys.find(f"made up {number}") for number in range(100)))
    assert found == [None] * 100
    assert provider.asked == 2


async def test_old_keys_serve_while_they_are_fetched_again(
    keys: ProviderKeys, provider: IdentityProvider, clock: Clock
) -> None:
    await keys.find("first")
    provider.delay_s = 0.5
    clock.now += TTL_S + 1
    begun = perf_counter()
    for _ in range(5):
        assert await keys.find("first") is not None
    assert perf_counter() - begun < 0.4
    await eventually(lambda: provider.asked == 2)


async def test_keys_serve_on_for_a_bounded_time_while_the_provider_is_away(
    keys: ProviderKeys, provider: IdentityProvider, clock: Clock
) -> None:
    await keys.find("first")
    await provider.stop()
    clock.now += TTL_S + MAX_STALE_S
    assert await keys.find("first") is not None
    clock.now += 1
    with pytest.raises(IdentityProviderDown):
        await keys.find("first")
    await provider.start()
    clock.now += RETRY_S
    assert await keys.find("first") is not None


async def test_a_key_that_is_not_known_is_not_refused_while_the_provider_is_away(
    keys: ProviderKeys, provider: IdentityProvider, clock: Clock
) -> None:
    await keys.find("first")
    await provider.stop()
    clock.now += FETCH_AGAIN_S
    for _ in range(3):
        with pytest.raises(IdentityProviderDown):
            await keys.find("perhaps new")
    assert await keys.find("first") is not None


async def test_a_provider_that_is_away_is_asked_now_and_then(
    keys: ProviderKeys, provider: IdentityProvider, clock: Clock
) -> None:
    provider.status = 500
    for _ in range(50):
        with pytest.raises(IdentityProviderDown):
            await keys.find("first")
    assert provider.asked == 1
    clock.now += RETRY_S
    provider.status = 200
    assert await keys.find("first") is not None


async def test_who_gives_up_waiting_leaves_the_others_their_fetch(
    keys: ProviderKeys, provider: IdentityProvider
) -> None:
    provider.delay_s = 0.2
    impatient = asyncio.create_task(keys.find("first"))
    patient = asyncio.create_task(keys.find("first"))
    await eventually(lambda: provider.asked == 1)
    impatient.cancel()
    assert await patient is not None
    assert provider.asked == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00\xff garbage",
        b"[]",
        b'{"keys": 7}',
        b'{"keys": []}',
        b'{"keys": [7, null, "x", {}]}',
        b"[" * 100_000,
        b'{"keys": [{"kid": "first", "kty": "OKP", "crv": "Ed25519", "x": "%s"}]}' % (b"A" * 1000),
        json.dumps({"keys": [], "more": "x" * BODY_MAX_BYTES}).encode(),
    ],
    ids=["empty", "garbage", "list", "no list", "no keys", "odd keys", "deep", "broken key", "huge"],
)
async def test_an_answer_that_cannot_be_used_replaces_nothing(
    keys: ProviderKeys, provider: IdentityProvider, clock: Clock, body: bytes
) -> None:
    await keys.find("first")
    provider.body = body
    clock.now += FETCH_AGAIN_S
    with pytest.raises(IdentityProviderDown):
        await keys.find("second")
    assert await keys.find("first") is not None


async def test_a_body_without_end_is_cut_off_at_its_bound(provider: IdentityProvider) -> None:
    provider.body = b" " * 50_000_000
    begun = perf_counter()
    with pytest.raises(IdentityProviderDown, match="larger than"):
        await fetch_jwks(provider.url, 5.0)
    assert perf_counter() - begun < 4


@pytest.mark.parametrize("status", [301, 302, 404, 500, 204])
async def test_only_200_gives_keys_and_redirects_are_not_followed(provider: IdentityProvider, status: int) -> None:
    provider.status, provider.headers = status, {"Location": "/moved"}
    with pytest.raises(IdentityProviderDown, match=str(status)):
        await fetch_jwks(provider.url, 5.0)
    assert provider.asked == 1


async def test_nothing_is_decompressed(provider: IdentityProvider) -> None:
    provider.body = gzip.compress(json.dumps({"keys": provider.keys}).encode())
    provider.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(IdentityProviderDown, match="compressed"):
        await fetch_jwks(provider.url, 5.0)


async def test_a_provider_that_stalls_is_given_up_in_time(provider: IdentityProvider) -> None:
    provider.delay_s = 10
    begun = perf_counter()
    with pytest.raises(IdentityProviderDown, match=r"0\.2 s"):
        await fetch_jwks(provider.url, 0.2)
    assert perf_counter() - begun < 2


async def test_a_provider_that_is_gone_is_a_fault_that_names_no_secret(provider: IdentityProvider) -> None:
    await provider.stop()
    with pytest.raises(IdentityProviderDown, match="could not be fetched: Client"):
        await fetch_jwks(provider.url, 5.0)


async def test_closing_ends_a_fetch_that_is_under_way(provider: IdentityProvider) -> None:
    keys = ProviderKeys(partial(fetch_jwks, provider.url, 5.0), Clock(), ttl_s=TTL_S, max_stale_s=MAX_STALE_S)
    provider.delay_s = 5
    asking = asyncio.create_task(keys.find("first"))
    await eventually(lambda: provider.asked == 1)
    asking.cancel()
    begun = perf_counter()
    await keys.close()
    assert perf_counter() - begun < 1


async def test_callers_get_503_with_a_time_to_come_back_and_logins_go_on(
    postgres_dsn: str, provider: IdentityProvider
) -> None:
    await provider.stop()
    async with managing(postgres_dsn, auth=settings_of(provider, timeout_s=2.0)) as asking:
        account = await asking.user("ada@example.com")
        somebody: Managing = replace(asking, token=provider.token(NOW, **{ACCOUNT_CLAIM: account}))
        answer = await somebody.ask("keys.list")
        told = json.loads(answer.body)
        assert (answer.status, told["error"]) == (503, "service_unavailable")
        assert "identity provider" in told["message"]
        assert int(dict(answer.headers)["Retry-After"]) >= 1
        bob = await asking.logged_in("bob@example.com")
        await bob.told(200, "keys.list")
