"""When a key works: its status, its end and its successors, changed over HTTP while it is in use."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.owners import Owner

if TYPE_CHECKING:
    from tests.gateways import Gateway
    from tests.wire import Wire

BUDGETS = "/api/public/budgets"
IN_FORCE_S = 1.0

CODES = {
    "ACTIVE": "200",
    "SUSPENDED": "403 api_key_suspended",
    "REVOKED": "401 api_key_revoked",
    "deleted": "401 api_key_revoked",
}
# From a status to another: what PUT (or DELETE, for "deleted") answers. Revoked is final, and what is deleted is gone.
CHANGES = {
    "ACTIVE": {"ACTIVE": 200, "SUSPENDED": 200, "REVOKED": 200, "deleted": 204},
    "SUSPENDED": {"ACTIVE": 200, "SUSPENDED": 200, "REVOKED": 200, "deleted": 204},
    "REVOKED": {"ACTIVE": 409, "SUSPENDED": 409, "REVOKED": 200, "deleted": 204},
    "deleted": {"ACTIVE": 404, "SUSPENDED": 404, "REVOKED": 404, "deleted": 404},
}


@pytest.fixture(scope="module")
def owner(gateway_server: Gateway) -> Owner:
    return Owner(gateway_server)


def becomes(wire: Wire, key: str, code: str) -> bool:
    """Ask with *key* until the answer is *code*, and say whether that came as soon as changes have to be in force."""
    deadline = time.monotonic() + IN_FORCE_S
    while wire.ask("GET", BUDGETS, key).code != code:
        if time.monotonic() >= deadline:
            return False
    return True


def set_status(owner: Owner, key_id: str, status: str) -> int:
    if status == "deleted":
        return owner.ask("DELETE", f"/api-keys/{key_id}").status_code
    return owner.ask("PUT", f"/api-keys/{key_id}", {"status": status}).status_code


@pytest.mark.parametrize(("before", "after"), [(before, after) for before in CHANGES for after in CHANGES[before]])
def test_a_status_is_in_force_at_once_and_revoked_is_final(
    gateway: Gateway, owner: Owner, before: str, after: str
) -> None:
    made = owner.create(rateLimitPerHour=1_000_000)
    with gateway.connect() as wire:
        assert wire.ask("GET", BUDGETS, made["key"]).status == 200
        if before != "ACTIVE":
            assert set_status(owner, made["id"], before) in (200, 204)
        assert becomes(wire, made["key"], CODES[before])
        answered = set_status(owner, made["id"], after)
        assert answered == CHANGES[before][after]
        assert becomes(wire, made["key"], CODES[after if answered < 300 else before])
    shown = owner.ask("GET", f"/api-keys/{made['id']}")
    if "deleted" in (before, after):
        assert shown.status_code == 404
        assert made["id"] not in owner.ask("GET", "/api-keys?limit=100").text
    else:
        assert shown.json()["status"] == (after if answered < 300 else before)


@pytest.mark.parametrize("status", ["SUSPENDED", "REVOKED", "deleted"])
@pytest.mark.parametrize(("method", "path"), [("GET", f"/v1{BUDGETS}"), ("POST", BUDGETS), ("DELETE", f"{BUDGETS}/1")])
def test_a_status_comes_before_address_and_scope(
    gateway: Gateway, owner: Owner, status: str, method: str, path: str
) -> None:
    made = owner.create(allowedIps=["192.0.2.1"], scopes=["READ_CUSTOMERS"])
    assert set_status(owner, made["id"], status) in (200, 204)
    assert gateway.ask(method, path, made["key"]).code == CODES[status]
    assert not gateway.backend.requests


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize("before", [None, "a day later"])
def test_a_key_works_until_the_very_moment_of_its_end(gateway: Gateway, owner: Owner, before: str | None) -> None:
    """An end that was given at creation, and one that was brought forward by a change while the key was in use."""
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    if before is None:
        made = owner.create(expiresAt=soon, rateLimitPerHour=1_000_000)
    else:
        later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        made = owner.create(expiresAt=later, rateLimitPerHour=1_000_000)
        assert gateway.ask("GET", BUDGETS, made["key"]).status == 200
        made |= owner.change(made["id"], {"expiresAt": soon})
    end = moment(made["expiresAt"])
    asked: list[tuple[float, float, str]] = []
    with gateway.connect() as wire:
        while time.time() < end + 0.1:
            began = time.time()
            code = wire.ask("GET", BUDGETS, made["key"]).code
            asked.append((began, time.time(), code))
        assert {code for _, answered, code in asked if answered < end} == {"200"}
        assert {code for began, _, code in asked if began >= end} == {"401 api_key_expired"}
        refused = wire.ask("GET", BUDGETS, made["key"])
        assert refused.json["details"] == {"expiredAt": made["expiresAt"]}
        assert refused.json["message"] == f"API key expired at {made['expiresAt']}"
        assert owner.ask("GET", f"/api-keys/{made['id']}").json()["status"] == "ACTIVE"
        owner.change(made["id"], {"expiresAt": "2034-12-31T23:59:59Z"})
        assert becomes(wire, made["key"], "200")


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(-86_400, "401 api_key_expired"), (-0.001, "401 api_key_expired"), (5, "200"), (86_400, "200"), (None, "200")],
)
def test_an_end_in_the_past_refuses_and_one_to_come_does_not(
    gateway: Gateway, seconds: float | None, code: str
) -> None:
    end = None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)
    assert gateway.ask("GET", BUDGETS, gateway.make_key(expires_at=end)).code == code


def test_an_end_can_be_taken_away_and_not_be_set_to_the_past(gateway: Gateway, owner: Owner) -> None:
    made = owner.create(expiresAt="2034-12-31T23:59:59Z")
    told = owner.change(made["id"], {"expiresAt": "2024-12-31T23:59:59Z"}, 422)
    assert [error["field"] for error in told["details"]["errors"]] == ["expiresAt"]
    gateway.execute(f"UPDATE api_keys SET expires_at = now() WHERE id = '{made['id']}'")
    with gateway.connect() as wire:
        assert becomes(wire, made["key"], "401 api_key_expired")
        assert owner.change(made["id"], {"expiresAt": None})["expiresAt"] is None
        assert becomes(wire, made["key"], "200")


def rotate(owner: Owner, key_id: str, **body: int) -> str:
    told = owner.told(200, "POST", f"/api-keys/{key_id}/rotate", body)
    assert told["id"] == key_id
    key: str = told["key"]
    assert told["keyPrefix"] == key[:12]
    return key


def test_a_rotated_key_ends_at_once_without_grace(gateway: Gateway, owner: Owner) -> None:
    made = owner.create()
    with gateway.connect() as wire:
        assert wire.ask("GET", BUDGETS, made["key"]).status == 200
        new = rotate(owner, made["id"])
        assert becomes(wire, made["key"], "401 api_key_revoked")
        assert wire.ask("GET", BUDGETS, new).status == 200


def test_old_and_new_work_within_the_grace_and_spend_from_one_bucket(gateway: Gateway, owner: Owner) -> None:
    made = owner.create(rateLimitPerHour=8)
    with gateway.connect() as wire:

        def left(key: str) -> int:
            return int(wire.ask("GET", BUDGETS, key).one("x-ratelimit-remaining"))

        assert left(made["key"]) == 7
        new = rotate(owner, made["id"], graceSeconds=600)
        assert [left(key) for key in (new, made["key"], new, made["key"])] == [6, 5, 4, 3]
        newest = rotate(owner, made["id"], graceSeconds=600)
        assert [left(key) for key in (newest, new, made["key"])] == [2, 1, 0]
        codes = {wire.ask("GET", BUDGETS, key).code for key in (newest, new, made["key"])}
        assert codes == {"429 rate_limit_exceeded"}
        # What happens to the key happens to all of its secrets.
        owner.change(made["id"], {"status": "SUSPENDED"})
        assert all(becomes(wire, key, "403 api_key_suspended") for key in (newest, new, made["key"]))


def test_an_old_key_ends_with_the_grace_and_the_new_one_goes_on(gateway: Gateway, owner: Owner) -> None:
    made = owner.create(rateLimitPerHour=1_000_000)
    with gateway.connect() as wire:
        assert wire.ask("GET", BUDGETS, made["key"]).status == 200
        rotated = time.time()
        new = rotate(owner, made["id"], graceSeconds=1)
        answered = time.time()
        assert wire.ask("GET", BUDGETS, made["key"]).status == 200
        asked = answered
        while wire.ask("GET", BUDGETS, made["key"]).status == 200:
            assert asked <= answered + 1, "what is asked after the grace is refused"
            asked = time.time()
        ended = time.time()
        assert ended >= rotated + 1
        assert wire.ask("GET", BUDGETS, made["key"]).code == "401 api_key_revoked"
        assert wire.ask("GET", BUDGETS, new).status == 200


def test_a_second_rotation_can_end_the_first_ones_grace(gateway: Gateway, owner: Owner) -> None:
    made = owner.create()
    new = rotate(owner, made["id"], graceSeconds=600)
    newest = rotate(owner, made["id"], graceSeconds=0)
    with gateway.connect() as wire:
        assert becomes(wire, made["key"], "401 api_key_revoked")
        assert becomes(wire, new, "401 api_key_revoked")
        assert wire.ask("GET", BUDGETS, newest).status == 200


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_each_key_has_the_requests_that_it_was_given(gateway: Gateway, owner: Owner, limit: int) -> None:
    made, other = owner.create(rateLimitPerHour=limit), owner.create(rateLimitPerHour=limit)
    with gateway.connect() as wire:
        for remaining in reversed(range(limit)):
            answer = wire.ask("GET", BUDGETS, made["key"])
            assert (answer.status, answer.one("x-ratelimit-limit")) == (200, str(limit))
            assert (answer.one("x-ratelimit-remaining"), answer.one("x-ratelimit-window")) == (str(remaining), "3600")
            assert 0 < int(answer.one("x-ratelimit-reset")) - time.time() <= 3601
        refused = wire.ask("GET", BUDGETS, made["key"])
        assert refused.code == "429 rate_limit_exceeded"
        assert (refused.one("x-ratelimit-limit"), refused.one("x-ratelimit-remaining")) == (str(limit), "0")
        assert 1 <= int(refused.one("retry-after")) <= math.ceil(3600 / limit)
        assert wire.ask("GET", BUDGETS, other["key"]).status == 200


def test_a_changed_limit_keeps_what_is_left(gateway: Gateway, owner: Owner) -> None:
    made = owner.create(rateLimitPerHour=5)
    with gateway.connect() as wire:
        assert wire.ask("GET", BUDGETS, made["key"]).one("x-ratelimit-remaining") == "4"
        owner.change(made["id"], {"rateLimitPerHour": 2})
        deadline = time.monotonic() + IN_FORCE_S
        while (answer := wire.ask("GET", BUDGETS, made["key"])).one("x-ratelimit-limit") != "2":
            assert time.monotonic() < deadline
        assert answer.status in (200, 429)
        assert int(answer.one("x-ratelimit-remaining")) <= 1
