"""Webhook messages: the bytes that a receiver gets, and what its answer means."""

from __future__ import annotations

import json

import pytest

from gateway.core.webhooks import DATA_MAX_BYTES, Attempt, DataTooLarge, Failure, failure_of, webhook_message

AT = "2027-01-15T08:00:00.000Z"


def test_a_body_has_the_members_of_the_contract() -> None:
    message = webhook_message("delivery_1", "budget.created", AT, b'{"id":1,"total":"12.50"}')
    assert (message.id, message.event) == ("delivery_1", "budget.created")
    assert json.loads(message.body) == {
        "event": "budget.created",
        "timestamp": AT,
        "data": {"id": 1, "total": "12.50"},
        "metadata": {"source": "api", "version": "1.4.0", "delivery_id": "delivery_1"},
    }


def test_data_are_passed_on_as_they_were_written() -> None:
    data = '{"n":1.10000000000000000001,"big":123456789012345678901234567890,"text":"é\\u00e9"}'.encode()
    assert data in webhook_message("delivery_1", "x", AT, data).body


def test_data_have_a_bound() -> None:
    longest = b'"' + b"a" * (DATA_MAX_BYTES - 2) + b'"'
    assert len(webhook_message("delivery_1", "x" * 100, AT, longest).body) < DATA_MAX_BYTES + 1024
    with pytest.raises(DataTooLarge, match="65536 bytes"):
        webhook_message("delivery_1", "x", AT, longest + b" ")


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        *[(status, None) for status in (200, 201, 202, 204, 299)],
        *[(status, Failure.REDIRECT) for status in (300, 301, 302, 304, 307, 308)],
        *[(status, Failure.STATUS) for status in (101, 199, 400, 404, 410, 429, 500, 503, 999)],
    ],
)
def test_only_2xx_is_success(status: int, failure: Failure | None) -> None:
    assert failure_of(status) is failure
    assert Attempt(status, 5, failure).delivered is (failure is None)


def test_410_says_that_the_receiver_is_gone() -> None:
    assert Attempt(410, 5, Failure.STATUS).gone
    assert not Attempt(404, 5, Failure.STATUS).gone
    assert not Attempt(None, 5, Failure.TIMEOUT).gone
