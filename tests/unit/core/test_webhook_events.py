"""Webhook events: what is copied of an answer, and how an event stands in the journal."""

from __future__ import annotations

import json

import pytest

from gateway.core.events import encode as encode_usage
from gateway.core.paths import Target, parse_target
from gateway.core.routes import Pattern
from gateway.core.webhook_events import (
    Missing,
    WebhookEvent,
    data_of,
    decode,
    encode,
    is_webhook_event,
    json_data,
    unreadable,
)
from tests.usage_events import usage_event

BELOW = Pattern.parse("/api/public/budgets/**")


def copied(body: bytes, missing: Missing | None = None, path: str = "/api/public/budgets/7") -> bytes:
    return bytes(data_of(body, missing, target_of(path), BELOW))


def target_of(path: str) -> Target:
    target = parse_target(path)
    assert isinstance(target, Target)
    return target


def test_numbers_and_texts_stay_as_they_were_written() -> None:
    assert copied(b'{"x": 1, "data": {"n": 1.10, "big": 123456789012345678901234567890, "t": "\\u00e4"}}') == (
        b'{"n": 1.10, "big": 123456789012345678901234567890, "t": "\\u00e4"}'
    )


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b' {"id": 1} ', b'{"id": 1}'),
        (b"[1, 2]", b"[1, 2]"),
        (b'{"data": null}', b"null"),
        (b'{"data":\r\n[1,\n2]}', b"[1, 2]"),
    ],
)
def test_without_a_member_called_data_all_of_it_is_the_data(body: bytes, data: bytes) -> None:
    assert copied(body) == data


@pytest.mark.parametrize(
    "body", [b"{", b"text", b'{"a": "\xff"}', b'{"a": "\\ud800"}', b"[" * 3000 + b"]" * 3000, b"\n"], ids=repr
)
def test_what_is_not_json_is_noted_and_not_copied(body: bytes) -> None:
    assert json.loads(copied(body)) == {"id": "7", "path": "/api/public/budgets/7", "note": "answer_not_json"}


def test_an_empty_answer_needs_no_note() -> None:
    assert json.loads(copied(b"")) == {"id": "7", "path": "/api/public/budgets/7"}


@pytest.mark.parametrize("missing", list(Missing))
def test_an_answer_that_is_not_read_is_noted(missing: Missing) -> None:
    assert json.loads(copied(b"{}", missing))["note"] == missing


@pytest.mark.parametrize(
    ("pattern", "path", "known"),
    [
        ("/budgets/**", "/budgets", None),
        ("/budgets/**", "/budgets/7/items/8", "7"),
        ("/budgets/{id}", "/budgets/7", "7"),
        ("/budgets/{id}/items/{item:token}/move", "/budgets/7/items/8/move", "8"),
        ("/budgets/all", "/budgets/all", None),
    ],
)
def test_the_id_is_what_the_path_says(pattern: str, path: str, known: str | None) -> None:
    data = json.loads(bytes(data_of(b"", None, target_of(path), Pattern.parse(pattern))))
    assert data == {"id": known, "path": path}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ([], None),
        ([(b"Content-Type", b"application/json; charset=utf-8")], None),
        ([(b"content-encoding", b"identity")], None),
        ([(b"Content-Encoding", b"gzip")], Missing.ENCODED),
        ([(b"Content-Type", b"text/html")], Missing.NOT_JSON),
    ],
)
def test_only_json_that_is_not_encoded_is_read(fields: list[tuple[bytes, bytes]], why: Missing | None) -> None:
    assert unreadable(fields) is why


def test_an_event_is_one_line_that_no_usage_event_can_be_taken_for() -> None:
    event = WebhookEvent("e1", "2026-11-24T12:00:00.123Z", "a1", "budget.created", json_data({"kind": "webhook"}))
    line = encode(event)
    assert b"\n" not in line
    assert is_webhook_event(line)
    assert not is_webhook_event(encode_usage(usage_event()))
    back = decode(line)
    assert (back.id, back.account_id, bytes(back.data)) == ("e1", "a1", b'{"kind":"webhook"}')
