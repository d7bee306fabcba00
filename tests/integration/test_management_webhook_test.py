"""The webhook test: 200 for a key without URL, as the SDK's connection test expects, and no secret in the answer."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest
from standardwebhooks import WebhookVerificationError
from structlog.testing import capture_logs

from gateway.core.decision import Principal
from gateway.embedded.listening import free_port
from gateway.management import webhook_test
from tests.backends import plain, silent
from tests.integration.managing import Managing, managing
from tests.integration.receiving import fields_of, verify
from tests.limiters import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.embedded.postgres import EmbeddedPostgres
    from tests.backends import Backend, Connection, Received

BODY = {"event": "budget.created", "data": {"id": 1}}
KEY = {"name": "Webhooks", "scopes": ["WEBHOOKS"]}


@pytest.fixture
async def ada(postgres_dsn: str) -> AsyncIterator[Managing]:
    async with managing(postgres_dsn, webhooks={"allow_private": True}) as asking:
        yield await asking.logged_in("ada@example.com")


async def principal_of(asking: Managing, body: dict[str, Any]) -> Principal:
    made = await asking.told(201, "keys.create", body)
    async with asking.database.connection() as connection:
        account_id = await connection.fetchval("SELECT account_id FROM api_keys WHERE id = $1", made["id"])
    return Principal(made["id"], account_id, ("WEBHOOKS",), made["keyPrefix"])


async def test_a_key_without_url_succeeds_and_is_told_that_nothing_was_sent(ada: Managing) -> None:
    principal = await principal_of(ada, KEY)
    told = await ada.told(200, "webhooks.test", BODY, principal=principal)
    assert set(told) == {"data"}
    data = told["data"]
    assert data["success"] is True
    assert "no webhookUrl" in data["message"]
    assert data["apiKey"] == principal.prefix
    assert data["deliveryId"] is None
    assert data["timestamp"] == "2027-01-15T08:00:00.000Z"


async def hooked(ada: Managing, url: str) -> tuple[Principal, str]:
    """A key with this webhook: who it is, and its webhook secret."""
    made = await ada.told(201, "keys.create", {**KEY, "webhookUrl": url})
    async with ada.database.connection() as connection:
        account_id = await connection.fetchval("SELECT account_id FROM api_keys WHERE id = $1", made["id"])
    return Principal(made["id"], account_id, ("WEBHOOKS",), made["keyPrefix"]), made["webhookSecret"]


async def test_a_key_with_url_is_told_what_came_of_the_event(ada: Managing, backend: Backend) -> None:
    principal, secret = await hooked(ada, f"{backend.url}/hook")
    backend.answer = plain(b"", "202 Accepted")
    data = (await ada.told(200, "webhooks.test", BODY, principal=principal))["data"]
    assert (data["success"], data["delivered"], data["statusCode"], data["failure"]) == (True, True, 202, None)
    assert 0 <= data["durationMs"] < 4000
    got = verify(backend.last, secret)
    assert isinstance(got, dict)
    assert (got["event"], got["data"], got["timestamp"]) == (BODY["event"], BODY["data"], data["timestamp"])
    assert got["metadata"]["delivery_id"] == data["deliveryId"] == fields_of(backend.last)["webhook-id"]


async def test_a_webhook_that_fails_is_told_with_the_reason(ada: Managing, backend: Backend) -> None:
    principal, _ = await hooked(ada, f"{backend.url}/hook")
    backend.answer = plain(b"", "500 Internal Server Error")
    data = (await ada.told(200, "webhooks.test", BODY, principal=principal))["data"]
    assert (data["success"], data["delivered"], data["statusCode"], data["failure"]) == (True, False, 500, "status")
    nobody, _ = await hooked(ada, f"http://127.0.0.1:{free_port()}/hook")
    data = (await ada.told(200, "webhooks.test", BODY, principal=nobody))["data"]
    assert (data["delivered"], data["statusCode"], data["failure"]) == (False, None, "connection_refused")


async def test_a_slow_delivery_goes_on_after_its_id_was_told(
    ada: Managing, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_test, "PATIENCE_S", 0.1)
    principal, secret = await hooked(ada, f"{backend.url}/hook")
    told = threading.Event()

    def answer(request: Received, connection: Connection) -> None:
        told.wait(10)
        plain()(request, connection)

    backend.answer = answer
    with capture_logs() as logs:
        data = (await ada.told(200, "webhooks.test", BODY, principal=principal))["data"]
        assert set(data) == {"success", "message", "timestamp", "apiKey", "deliveryId"}
        told.set()
        await eventually(lambda: any(line["event"] == "webhook tested" for line in logs))
    (line,) = [line for line in logs if line["event"] == "webhook tested"]
    assert (line["delivery_id"], line["status"], line["failure"]) == (data["deliveryId"], 200, None)
    verify(backend.last, secret)
    assert secret not in str(logs)
    assert "/hook" not in str(logs)


async def test_slow_receivers_take_no_more_than_a_bounded_number_of_deliveries(
    ada: Managing, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_test, "PATIENCE_S", 0.1)
    monkeypatch.setattr(webhook_test, "UNDER_WAY_MAX", 1)
    principal, _ = await hooked(ada, f"{backend.url}/hook")
    backend.answer = silent
    await ada.told(200, "webhooks.test", BODY, principal=principal)
    told = await ada.told(503, "webhooks.test", BODY, principal=principal)
    assert told["error"] == "overloaded"


async def test_after_a_rotation_both_secrets_verify_until_the_grace_ends(ada: Managing, backend: Backend) -> None:
    principal, old = await hooked(ada, f"{backend.url}/hook")
    rotated = await ada.told(200, "keys.rotate_webhook_secret", {"graceSeconds": 60}, key_id=principal.key_id)
    new = rotated["webhookSecret"]
    assert new != old
    assert "webhookSecret" not in await ada.told(200, "keys.get", key_id=principal.key_id)
    await ada.told(200, "webhooks.test", BODY, principal=principal)
    verify(backend.last, new)
    verify(backend.last, old)
    async with ada.database.connection() as connection:
        await connection.execute("UPDATE retired_webhook_secrets SET valid_until = now()")
    await ada.told(200, "webhooks.test", BODY, principal=principal)
    verify(backend.last, new)
    with pytest.raises(WebhookVerificationError):
        verify(backend.last, old)


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("keys.rotate_webhook_secret", {"graceSeconds": 0}),
        ("keys.update", {"webhookSecret": "a secret of the owner's own"}),
    ],
)
async def test_without_a_grace_the_old_secrets_end_at_once(
    ada: Managing, backend: Backend, call: str, body: dict[str, Any]
) -> None:
    principal, first = await hooked(ada, f"{backend.url}/hook")
    second = await ada.told(200, "keys.rotate_webhook_secret", key_id=principal.key_id)
    third = await ada.told(200, call, body, key_id=principal.key_id)
    await ada.told(200, "webhooks.test", BODY, principal=principal)
    verify(backend.last, third["webhookSecret"])
    for old in (first, second["webhookSecret"]):
        with pytest.raises(WebhookVerificationError):
            verify(backend.last, old)


async def test_rotations_at_once_end_with_the_two_newest_secrets(ada: Managing, backend: Backend) -> None:
    principal, _ = await hooked(ada, f"{backend.url}/hook")
    rotated = await asyncio.gather(
        *(ada.told(200, "keys.rotate_webhook_secret", key_id=principal.key_id) for _ in range(4))
    )
    await ada.told(200, "webhooks.test", BODY, principal=principal)
    assert len(fields_of(backend.last)["webhook-signature"].split(" ")) == 2
    verified = 0
    for told in rotated:
        with contextlib.suppress(WebhookVerificationError):
            verify(backend.last, told["webhookSecret"])
            verified += 1
    assert verified == 2


async def test_another_account_does_not_rotate_a_secret(ada: Managing) -> None:
    principal, _ = await hooked(ada, "https://a.example/")
    eve = await ada.logged_in("eve@example.com")
    await eve.told(404, "keys.rotate_webhook_secret", key_id=principal.key_id)
    await ada.told(404, "keys.rotate_webhook_secret", key_id="api_key_none")


async def test_a_secret_that_cannot_be_read_is_503_and_not_a_bug(ada: Managing) -> None:
    principal, _ = await hooked(ada, "https://a.example/")
    async with ada.database.connection() as connection:
        await connection.execute("UPDATE api_keys SET webhook_secret = '\\x00'")
    await ada.told(503, "webhooks.test", BODY, principal=principal)


async def test_data_that_are_too_large_are_422(ada: Managing) -> None:
    principal = await principal_of(ada, KEY)
    told = await ada.told(422, "webhooks.test", {"event": "a", "data": {"a": "é" * 33_000}}, principal=principal)
    assert [error["field"] for error in told["details"]["errors"]] == ["data"]


async def test_any_name_of_an_event_will_do(ada: Managing) -> None:
    principal = await principal_of(ada, KEY)
    await ada.told(200, "webhooks.test", {"event": "sdk.connection_test", "data": {}}, principal=principal)


BROKEN: list[tuple[Any, str]] = [
    ({"event": "a"}, "data"),
    ({"data": {}}, "event"),
    ({"event": "", "data": {}}, "event"),
    ({"event": "a" * 101, "data": {}}, "event"),
    ({"event": 1, "data": {}}, "event"),
    ({"event": "a", "data": []}, "data"),
    ({"event": "a", "data": None}, "data"),
    ({"event": "a", "data": {}, "url": "https://a.example/"}, "url"),
    ([], ""),
]


async def test_a_body_that_breaks_a_rule_is_422(ada: Managing) -> None:
    principal = Principal("api_key_1", "account_1", ("WEBHOOKS",), "bk_live_abcd")
    for body, field in BROKEN:
        told = await ada.told(422, "webhooks.test", body, principal=principal)
        assert [error["field"] for error in told["details"]["errors"]] == [field], body


@pytest.mark.timeout(30)
async def test_without_postgres_it_is_503(own_postgres: EmbeddedPostgres) -> None:
    async with managing(own_postgres.dsn) as asking:
        ada = await asking.logged_in("ada@example.com")
        principal = await principal_of(ada, KEY)
        await own_postgres.stop()
        await ada.told(503, "webhooks.test", BODY, principal=principal)
