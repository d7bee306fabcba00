"""Postgres answers, the listener is connected, and no change is ever announced: the cache's time limit is what is left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.demos import wait_until
from tests.owners import Owner

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateways import Gateway

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

BUDGETS = "/api/public/budgets"
TTL_S = 2.0
MARGIN_S = 1.0


def test_every_change_is_in_force_within_the_caches_time_when_all_notifications_are_lost(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str
) -> None:
    def forgetful(document: dict[str, Any]) -> None:
        document["keys"] = {**document.get("keys", {}), "cache_ttl_s": TTL_S}

    gateway = start_gateway(postgres_dsn, redis_url, forgetful)
    gateway.execute("DROP FUNCTION announce_key_change, announce_secret_change CASCADE")
    owner = Owner(gateway)
    suspended, deleted, rotated, narrowed = (owner.create() for _ in range(4))
    expected = {
        suspended["key"]: "403 api_key_suspended",
        deleted["key"]: "401 api_key_revoked",
        rotated["key"]: "401 api_key_revoked",
        narrowed["key"]: "403 insufficient_scope",
    }
    assert {gateway.ask("GET", BUDGETS, key).code for key in expected} == {"200"}
    owner.change(suspended["id"], {"status": "SUSPENDED"})
    owner.told(204, "DELETE", f"/api-keys/{deleted['id']}")
    successor = owner.told(200, "POST", f"/api-keys/{rotated['id']}/rotate")["key"]
    owner.change(narrowed["id"], {"scopes": ["READ_PRODUCTS"]})
    changed_at = time.monotonic()
    assert gateway.ask("GET", BUDGETS, narrowed["key"]).code == "200", "a change was announced after all"
    assert gateway.ask("GET", BUDGETS, successor).code == "200"
    assert wait_until(
        lambda: {key: gateway.ask("GET", BUDGETS, key).code for key in expected} == expected,
        TTL_S + MARGIN_S - (time.monotonic() - changed_at),
    )
    assert gateway.health["status"] == "ready"
