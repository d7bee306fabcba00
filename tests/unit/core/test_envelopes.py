"""Envelopes: usage events as CloudEvents, as the published schema describes both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gateway.core.envelopes import SCHEMA_ID, NotAnEvent, envelope
from gateway.core.events import encode
from tests.usage_events import usage_event

SCHEMA = json.loads((Path(__file__).parents[3] / "config" / "usage-event.v1.schema.json").read_text())


def encoded(key_id: str | None = "api_key_1", **members: Any) -> bytes:
    fixed = {
        "id": "0199b2f0-0000-7000-8000-000000000001",
        "at": "2026-11-24T12:00:00.123Z",
        "account_id": key_id and "account_1",
        "key_id": key_id,
        "path": '/api/public/budgets/"é\\',
        "upstream": "budgets",
        "target": "http://budgets:8000",
        "upstream_us": 7,
        "bytes_out": 2,
        "config_version": "0123456789ab",
    }
    return encode(usage_event(**fixed | members))


def check(value: Any, definition: str | None = None) -> None:
    wanted = SCHEMA if definition is None else {"$ref": f"{SCHEMA_ID}#/$defs/{definition}", "$defs": {"own": SCHEMA}}
    jsonschema.Draft202012Validator(wanted).validate(value)


EVENTS = [
    encoded(),
    encoded(key_id=None, status=401, outcome="missing_api_key", target=None, upstream_us=None),
    encoded(status=None, target=None, upstream_us=None),
]


def test_the_schema_is_a_schema_and_has_the_id_that_envelopes_name() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$id"] == SCHEMA_ID


@pytest.mark.parametrize("text", EVENTS)
def test_events_are_as_the_schema_says_and_it_knows_every_member(text: bytes) -> None:
    members = json.loads(text)
    check(members)
    assert set(members) == set(SCHEMA["properties"]) == set(SCHEMA["required"])


@pytest.mark.parametrize("text", EVENTS)
def test_envelopes_are_as_the_schema_says_and_hold_the_event_unchanged(text: bytes) -> None:
    wrapped = json.loads(envelope(text, "/gateway"))
    check(wrapped, "envelope")
    assert wrapped["data"] == json.loads(text)
    assert (wrapped["id"], wrapped["time"]) == (wrapped["data"]["id"], wrapped["data"]["at"])
    assert wrapped.get("subject") == wrapped["data"]["keyId"]
    assert b"\n" not in envelope(text, "/gateway")


@pytest.mark.parametrize("change", [{"status": "200"}, {"durationUs": -1}, {"schema": 2}, {"mode": "other"}])
def test_the_schema_refuses_what_is_not_so(change: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check(json.loads(EVENTS[0]) | change)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"null", b'"text"', b"{}", b'{"id": "1"}', b'{"id": "1", "at": "2"}', b"\xff"]
)
def test_what_is_no_event_has_no_envelope(text: bytes) -> None:
    with pytest.raises(NotAnEvent):
        envelope(text, "/gateway")
