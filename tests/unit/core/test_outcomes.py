"""Outcomes: which lines are reports, and what outside sinks get of one."""

from __future__ import annotations

import json

import jsonschema
import pytest

from gateway.core.envelopes import NotAnEvent, envelope
from gateway.core.outcomes import Outcome, Report, began_at, encode, is_outcome, read_report
from tests.house.tree import TOP
from tests.usage_events import event

ID = "019b2f0a-7c1b-7d02-8a54-9d3ff0c1b2a3"
SCHEMA = json.loads((TOP / "config" / "usage-event.v1.schema.json").read_text())


def test_a_report_may_leave_out_what_the_proxy_does_not_know() -> None:
    line = b'{"id": "%b", "status": 200, "seconds": 1, "bytesIn": null, "other": []}' % ID.encode()
    assert read_report(line) == Report(ID, 200, 1.0)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"null",
        b'{"id":"a","status":200}',
        b'{"id":"a","status":true,"seconds":1}',
        b'{"id":"a","status":200,"seconds":NaN}',
        b'{"id":"a","status":200,"seconds":1e999}',
        b'{"id":"a\xff","status":200,"seconds":1}',
        b'{"id":"a","status":200,"seconds":1} {"id":"b"}',
        b"[" * 10_000,
        b'{"other":' + b"[" * 100_000,
    ],
)
def test_what_is_no_report_is_none(line: bytes) -> None:
    assert read_report(line) is None


def test_an_events_id_says_when_its_request_began() -> None:
    assert began_at("0199b2f0-0000-7000-8000-000000000001") == 0x0199B2F00000 / 1000
    for other in (ID.upper(), ID[:-1], f"{ID}0", f"{ID[:14]}4{ID[15:]}", f"{ID[:19]}9{ID[20:]}", f"{ID}\n", ""):
        assert began_at(other) is None


def test_an_outcome_is_told_from_an_event_and_goes_out_as_an_event_of_its_own() -> None:
    record = encode(Outcome(ID, 502, 1_000, None, 5, 900))
    assert is_outcome(record)
    assert not is_outcome(event())
    wrapped = json.loads(envelope(record, "/tests"))
    jsonschema.Draft202012Validator(
        {"$ref": f"{SCHEMA['$id']}#/$defs/outcomeEnvelope", "$defs": {"published": SCHEMA}}
    ).validate(wrapped)
    assert (wrapped["id"], wrapped["subject"], wrapped["data"]["status"]) == (f"{ID}/outcome", ID, 502)
    with pytest.raises(NotAnEvent):
        envelope(record.replace(b"-7d02-", b"-4d02-"), "/tests")
