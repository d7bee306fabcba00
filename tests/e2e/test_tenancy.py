"""Tenancy: whatever an account asks about another one's keys, they are not there; an admin administers all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.settings.compile import BUILT_IN_ROUTES
from tests.owners import Owner

if TYPE_CHECKING:
    from tests.gateways import Gateway

    State = list[list[dict[str, Any]]]

CALLS: dict[str, list[tuple[str, str, Any]]] = {
    "keys.get": [("GET", "", None)],
    "keys.update": [
        *[("PUT", "", {"name": "Mine"}), ("PUT", "", {"status": "REVOKED"}), ("PUT", "", {})],
        *[("PUT", "", {"webhookUrl": "https://example.com/"}), ("PUT", "", {"name": ""})],
    ],
    "keys.delete": [("DELETE", "", None)],
    "keys.rotate": [("POST", "/rotate", None), ("POST", "/rotate", {"graceSeconds": 60})],
    "keys.webhook_secret": [("POST", "/webhook-secret/rotate", None)],
    "keys.audit": [("GET", "/audit", None), ("GET", "/audit?page=1&limit=100", None)],
    "keys.deliveries": [("GET", "/deliveries", None), ("GET", "/deliveries?status=DEAD", None)],
    "keys.redeliver": [("POST", "/deliveries/delivery_0/redeliver", None)],
    "keys.stats": [("GET", "/stats", None), ("GET", "/stats?period=24h", None)],
}
"""Every call that names a key, by its route."""
VARYING = ("timestamp", "requestId")


@pytest.fixture
def ada(gateway: Gateway) -> Owner:
    return Owner(gateway)


@pytest.fixture
def bob(gateway: Gateway) -> Owner:
    return Owner(gateway)


@pytest.fixture
def root(gateway: Gateway) -> Owner:
    return Owner(gateway, "admin")


def state(gateway: Gateway, key_id: str) -> State:
    """All that is stored of a key."""
    return [
        gateway.fetch("SELECT * FROM api_keys WHERE id = $1", key_id),
        gateway.fetch("SELECT * FROM key_secrets WHERE key_id = $1 ORDER BY digest", key_id),
        gateway.fetch("SELECT * FROM audit_log WHERE subject_id = $1 ORDER BY id", key_id),
        gateway.fetch("SELECT * FROM idempotency_records WHERE key_id = $1", key_id),
    ]


def answered(owner: Owner, method: str, path: str, body: Any) -> tuple[int, dict[str, Any]]:
    """The status and the body of an answer, without what differs each time."""
    answer = owner.ask(method, path, body)
    return answer.status_code, {name: value for name, value in answer.json().items() if name not in VARYING}


def account_of(gateway: Gateway, owner: Owner) -> str:
    (row,) = gateway.fetch("SELECT account_id FROM users WHERE email = $1", owner.email)
    return str(row["account_id"])


def test_every_route_that_names_a_key_is_tried_here() -> None:
    naming_a_key = {route.name for route in BUILT_IN_ROUTES if route.pattern.text.startswith("/api-keys/{id}")}
    assert {"keys.get", "keys.audit"} <= naming_a_key <= CALLS.keys()


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize("route", CALLS)
def test_another_accounts_key_is_not_there_and_stays_as_it_is(
    gateway: Gateway, ada: Owner, bob: Owner, route: str, prefix: str
) -> None:
    key_id = ada.create()["id"]
    before = state(gateway, key_id)
    for method, rest, body in CALLS[route]:
        told = answered(bob, method, f"{prefix}/api-keys/{key_id}{rest}", body)
        assert told == answered(bob, method, f"{prefix}/api-keys/api_key_none{rest}", body)
        assert told[0] in {404, 422}
        assert told[0] == 404 or body == {"name": ""}
    assert state(gateway, key_id) == before


@pytest.mark.parametrize("route", CALLS)
def test_neither_api_key_nor_broken_token_opens_the_management_of_keys(
    gateway: Gateway, ada: Owner, route: str
) -> None:
    made = ada.create()
    before = state(gateway, made["id"])
    for method, rest, body in CALLS[route]:
        for credential in (made["key"], gateway.everything, ada.token[:-4] + "AAAA", ada.token + "A", ""):
            headers = {"Authorization": f"Bearer {credential}"}
            answer = ada.ask(method, f"/api-keys/{made['id']}{rest}", body, headers)
            known = route in {known.name for known in BUILT_IN_ROUTES}
            assert answer.status_code == (401 if known else 404), (method, rest)
    assert state(gateway, made["id"]) == before


def test_nothing_of_another_account_is_in_a_list_however_it_is_asked_for(
    gateway: Gateway, ada: Owner, bob: Owner
) -> None:
    made = ada.create(name="Ada's own")
    for query in (
        *("", "?status=ACTIVE", "?search=Ada", f"?search={made['keyPrefix']}", "?limit=100"),
        *(f"?accountId={account_of(gateway, ada)}", "?accountId=%25", "?role=admin"),
    ):
        told = bob.told(200, "GET", f"/api-keys{query}")
        assert (told["data"], told["pagination"]["total"]) == ([], 0)


def test_the_log_of_a_deleted_key_is_still_its_owners_alone(ada: Owner, bob: Owner, root: Owner) -> None:
    key_id = ada.create()["id"]
    ada.told(204, "DELETE", f"/api-keys/{key_id}")
    for owner, status in ((ada, 200), (bob, 404), (root, 200)):
        owner.told(status, "GET", f"/api-keys/{key_id}/audit")
    for owner in (ada, bob, root):
        owner.told(404, "GET", f"/api-keys/{key_id}")


def test_the_same_idempotency_key_shows_nothing_of_another_account(ada: Owner, bob: Owner) -> None:
    headers = {"Idempotency-Key": "the same for both"}
    body = {"name": "Same", "scopes": ["READ_BUDGETS"]}
    hers, his = (owner.ask("POST", "/api-keys", body, headers) for owner in (ada, bob))
    assert (hers.status_code, his.status_code) == (201, 201)
    assert hers.json()["id"] != his.json()["id"]
    assert "Idempotency-Replayed" not in his.headers
    assert ada.ask("POST", "/api-keys", body, headers).json() == hers.json()
    path = f"/api-keys/{hers.json()['id']}/rotate"
    rotated = ada.ask("POST", path, None, headers)
    assert rotated.status_code == 200
    assert bob.ask("POST", path, None, headers).status_code == 404


def test_nobody_but_an_admin_makes_a_key_for_another_account(
    gateway: Gateway, ada: Owner, bob: Owner, root: Owner
) -> None:
    body = {"name": "Made for Ada", "scopes": ["READ_BUDGETS"], "accountId": account_of(gateway, ada)}
    told = bob.told(422, "POST", "/api-keys", body)
    assert [error["field"] for error in told["details"]["errors"]] == ["accountId"]
    told = ada.told(422, "POST", "/api-keys", body)
    assert [error["field"] for error in told["details"]["errors"]] == ["accountId"]
    made = root.told(201, "POST", "/api-keys", body)
    assert made["accountId"] == body["accountId"]
    assert [key["id"] for key in ada.told(200, "GET", "/api-keys")["data"]] == [made["id"]]
    assert bob.told(200, "GET", "/api-keys")["data"] == []
    for account in ("account_none", "é", "a" * 101, "", 1):
        told = root.told(422, "POST", "/api-keys", {**body, "accountId": account})
        assert [error["field"] for error in told["details"]["errors"]] == ["accountId"]


def test_an_admin_administers_the_keys_of_all_accounts_and_sees_whose_they_are(
    gateway: Gateway, ada: Owner, bob: Owner, root: Owner
) -> None:
    hers, his = ada.create(), bob.create()
    account = account_of(gateway, ada)
    assert "accountId" not in ada.told(200, "GET", f"/api-keys/{hers['id']}")
    assert root.told(200, "GET", f"/api-keys/{hers['id']}")["accountId"] == account
    listed = root.told(200, "GET", f"/api-keys?accountId={account}")
    assert [(key["id"], key["accountId"]) for key in listed["data"]] == [(hers["id"], account)]
    both = {key["id"] for key in root.told(200, "GET", "/api-keys?limit=100")["data"]}
    assert {hers["id"], his["id"]} <= both
    changed = root.told(200, "PUT", f"/api-keys/{hers['id']}", {"status": "SUSPENDED"})
    assert (changed["status"], changed["accountId"]) == ("SUSPENDED", account)
    root.told(200, "POST", f"/api-keys/{hers['id']}/rotate")
    assert root.told(200, "GET", f"/api-keys/{hers['id']}/audit")["pagination"]["total"] == 3
    root.told(422, "PUT", f"/api-keys/{hers['id']}", {"accountId": account_of(gateway, bob)})
    root.told(204, "DELETE", f"/api-keys/{hers['id']}")
    ada.told(404, "GET", f"/api-keys/{hers['id']}")
